"""What would go wrong with a backend's ERP, found out without harm: `relais erp check`.

Face: `examine` (all of it, in turn) and `finding` (what a connector's own `check` yields).
"""
