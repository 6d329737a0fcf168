"""PostgreSQL and Valkey out of their wheels, and what keeps their processes in hand."""
