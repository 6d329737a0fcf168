"""What a process tells of itself: logs, the log of orders, and traces.

Face: every module of it; OpenTelemetry is imported by `otel` alone, and `otel` by nobody but `traces`.
"""
