"""The OData connector's own settings."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from workers.erp.credentials import AuthOptions, TlsOptions

SERVICE: Final = "/sap/opu/odata/sap/API_SALES_ORDER_SRV"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
Optional = Literal[
    "OriginallyRequestedMaterial",
    "PriceListType",
    "ProductionPlant",
    "PurchaseOrderByShipToParty",
    "SalesDocumentRjcnReason",
    "to_ScheduleLine",
]


class OdataOptions(BaseModel):
    """Which service, as whom, and for which sales area."""

    model_config = ConfigDict(extra="forbid")

    auth: AuthOptions | None = None
    tls: TlsOptions | None = None
    order_type: Name = Field("OR", max_length=4)
    sales_organization: Name = Field(max_length=4)
    distribution_channel: Name = Field(max_length=2)
    division: Name = Field(max_length=2)
    service: str = Field(SERVICE, pattern=r"^/[A-Za-z0-9_./;=-]+$")
    client: Annotated[str, StringConstraints(pattern=r"^[0-9]{3}$")] | None = None
    unit: Name | None = Field(None, max_length=3)
    note_id: Name | None = Field(None, max_length=4)
    language: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = "EN"
    parallel: int = Field(4, ge=1, le=64)
    reasons: dict[str, str] = Field(default_factory=dict)
    without: frozenset[Optional] = frozenset()
