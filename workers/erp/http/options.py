"""The HTTP connector's own settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from workers.erp.credentials import AuthOptions, TlsOptions


def _said_once(auth: AuthOptions | None, info: ValidationInfo) -> AuthOptions | None:
    if auth is not None and (info.context or {}).get("token"):
        raise ValueError("RELAIS_ERP_TOKEN says it as well: one of them is to say it")
    return auth


class HttpOptions(BaseModel):
    """Who we are to the ERP, where RELAIS_ERP_TOKEN is not enough."""

    model_config = ConfigDict(extra="forbid")

    auth: Annotated[AuthOptions | None, AfterValidator(_said_once)] = None
    tls: TlsOptions | None = None
