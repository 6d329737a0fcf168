"""The OData connector: orders become sales orders of an SAP S/4HANA, by its API_SALES_ORDER_SRV (docs/odata.md)."""

from typing import Final

from workers.erp.connectors import Connector
from workers.erp.odata.connector import OdataErp as OdataErp
from workers.erp.odata.options import OdataOptions

ODATA: Final = Connector(OdataOptions, lambda settings, own, _, barrier: OdataErp(settings, own, barrier))
