"""Who may ask: clients, their API keys, the keys of receipts.

Face: `clients`, `key_cache`, `receipt_keys`.
"""
