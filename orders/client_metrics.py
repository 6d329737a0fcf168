"""What a front end's spool holds, for Prometheus: in a file, it is picked up by node_exporter's textfile collector.

The machine of a front end has no server of ours that could be scraped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from orders.client.spool import SpoolStatus

WHAT: Final = {
    "relais_spool_orders": "Orders that wait on this machine for the intake.",
    "relais_spool_bytes": "Bytes of the orders in the spool, waiting or refused.",
    "relais_spool_oldest_age_seconds": "Time that the first of them has waited; 0 when none waits.",
}


def render(standing: SpoolStatus) -> str:
    """The spool's metrics in Prometheus' text format."""
    age = 0.0 if standing.oldest is None else max(0.0, (datetime.now(UTC) - standing.oldest).total_seconds())
    values = (standing.waiting, standing.size, round(age, 3))
    lines = [
        f"# HELP {name} {what}\n# TYPE {name} gauge\n{name} {value}\n"
        for (name, what), value in zip(WHAT.items(), values, strict=True)
    ]
    return "".join(lines)
