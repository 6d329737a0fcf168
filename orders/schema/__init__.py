"""The journal's tables and what the database enforces by itself: triggers, tallies, grants, epochs, migrations.

Face: every module of it.
"""
