"""An order's way to the ERP and back: claim, validate, submit, settle; the circuit, the window, the retry policy.

Face: `deliver`, `poll`; for the rooms above also what they show: `window`, `baseline`, `retry_policy`.
"""
