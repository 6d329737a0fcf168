"""The HTTP connector: an ERP, or an adapter before it, that speaks our own contract (docs/erp-contract.md)."""

from typing import Final

from workers.erp.connectors import Connector, NoOptions
from workers.erp.http.connector import HttpErp as HttpErp

HTTP: Final = Connector(NoOptions, lambda settings, _, keys, barrier: HttpErp(settings, keys, barrier))
