"""Mapped REST: an ERP that a profile describes, and no code (docs/rest.md)."""

from typing import Final

from workers.erp.connectors import Connector
from workers.erp.rest.connector import RestErp as RestErp
from workers.erp.rest.options import RestOptions

REST: Final = Connector(RestOptions, lambda settings, own, _, barrier: RestErp(settings, own, barrier))
