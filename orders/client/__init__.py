"""A front end's client: hands orders to the intake, and keeps them on its own disk while that is away.

Face: `OrderClient`; for the commands also `spool`, `settings` and `answers`. It needs `model` and `errors` of Relais,
no more.
"""

from orders.client.client import OrderClient as OrderClient
