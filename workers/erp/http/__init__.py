"""The HTTP connector: an ERP, or an adapter before it, that speaks our own contract (docs/erp-contract.md)."""

from typing import Final

from workers.erp.connectors import Connector
from workers.erp.http.connector import HttpErp as HttpErp
from workers.erp.http.options import HttpOptions

HTTP: Final = Connector(HttpOptions, lambda settings, own, keys, barrier: HttpErp(settings, keys, barrier, own))
