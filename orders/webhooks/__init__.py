"""Where clients want to be told of their orders, and the words in which they are.

Face: `endpoints`, `payload`.
"""
