"""The backlog or chosen orders put through again, step by step, under the same idempotency keys.

Face: `choice.Choice`, `redrive`, `commands`, `gates`, `controller`, `divert`, `cancel`.
"""
