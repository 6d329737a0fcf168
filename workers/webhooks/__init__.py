"""What clients are told of their orders: the outbox in the journal and the calls of one process.

Face: `outbox`, `sender.Sender`.
"""
