"""The HTTP connector: an ERP, or an adapter before it, that speaks our own contract (docs/erp-contract.md)."""

from workers.erp.http.connector import HttpErp as HttpErp
