"""What a front end's machine has, for whoever is a client of the intake."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveInt, SecretStr

from config.addresses import IntakePlace
from orders.client.spool import MOST_BYTES, MOST_ORDERS

SPOOL = "spool.db"  # in the data directory


class ClientSettings(IntakePlace):
    """What a front end's machine has and the servers need not: RELAIS_API_URL, RELAIS_API_KEY, RELAIS_SPOOL, and how
    many orders (RELAIS_SPOOL_ORDERS) of how many bytes (RELAIS_SPOOL_BYTES) that spool may hold.
    """

    api_key: SecretStr | None = None
    spool: Path | None = None
    spool_orders: PositiveInt = MOST_ORDERS
    spool_bytes: PositiveInt = MOST_BYTES
