"""Relais measured beside plain Celery, in one run, on the same orders and the same HTTP sink (see README.md)."""
