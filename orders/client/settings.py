"""What a front end's machine has, for whoever is a client of the intake."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveInt, SecretStr

from config.addresses import IntakePlace
from orders.client.spool import MOST_BYTES, MOST_ORDERS

SPOOL = "spool.db"  # in the data directory


class ClientSettings(IntakePlace):
    """What a front end's machine has and the servers need not."""

    api_key: SecretStr | None = Field(default=None, description="API key of the front end")
    spool: Path | None = Field(default=None, description="file of the spool; in the data directory when unset")
    spool_orders: PositiveInt = Field(default=MOST_ORDERS, description="most orders that the spool holds")
    spool_bytes: PositiveInt = Field(default=MOST_BYTES, description="most bytes that the spool holds")
