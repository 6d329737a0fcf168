"""The backlog or chosen orders put through again, stage by stage, under the same idempotency keys.

Face: `choice.Choice`, `redrive`, `commands`, `gates`, `controller`, `divert`, `cancel`.
"""
