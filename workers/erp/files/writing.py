"""An order as the bytes of its file, and as what is kept of it: nothing that may be about a patient."""

from __future__ import annotations

from typing import Any

from workers.erp import steady_clock
from workers.erp.files.edifact.orders import write_orders
from workers.erp.files.options import FilesOptions
from workers.erp.files.tables.orders import write_table
from workers.erp.port import Submission


def written(order: Submission, own: FilesOptions) -> bytes:
    """The file, in the format that the settings say. Raises Unwritable."""
    assert order.order is not None
    at = steady_clock.now()
    if own.format == "edifact":
        assert own.edifact is not None
        return write_orders(order.id, order.order, order.mapped, own.edifact, at)
    assert own.order is not None
    return write_table(order.id, order.order, order.mapped, own.order, at, fixed=own.format == "fixed")


def recorded(order: Submission, name: str) -> dict[str, Any]:
    """What answers are matched with: id, name of the file, lines as product and boxes, the ERP's article of each."""
    assert order.order is not None
    return {
        "id": str(order.id),
        "file": name,
        "at": steady_clock.now().isoformat(),
        "lines": [(line.product, line.quantity) for line in order.order.lines],
        "articles": order.mapped.articles if order.mapped else (),
    }
