"""Whether a backend may be believed and sent to: quarantine, the barrier before it, the keys of its receipts.

Face: `quarantine`, `barrier`, `key_cache`.
"""
