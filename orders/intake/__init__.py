"""How an order gets into the journal: in groups, durably, or into the spill while the journal is away.

Face: `open_intake`, and what it takes and gives: `entries`, `routing`, `spill`, `store_switch`, `cancel`.
"""

from orders.intake.group_commit import open_intake as open_intake
