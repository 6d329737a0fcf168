"""`relais up`: everything Relais needs, started, supervised and stopped by one foreground process.

Face: `run.run`, `endpoints`.
"""
