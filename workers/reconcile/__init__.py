"""What the ERP holds, held against the journal, order by order.

Face: `compare.reconcile`, `runs`, `resend`, `foreign`.
"""
