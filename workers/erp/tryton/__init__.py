"""The Tryton connector: orders become confirmed sales of a Tryton 8.2, over its JSON-RPC (docs/tryton.md)."""

from typing import Final

from workers.erp.connectors import Connector
from workers.erp.tryton.connector import TrytonErp as TrytonErp
from workers.erp.tryton.options import TrytonOptions

TRYTON: Final = Connector(TrytonOptions, lambda settings, own, _, barrier: TrytonErp(settings, own, barrier))
