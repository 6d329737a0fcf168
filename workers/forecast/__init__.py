"""When the backlog will be drained, and which cut-offs will be met.

Face: `forecast.foretell`.
"""
