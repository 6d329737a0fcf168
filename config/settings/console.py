"""The settings of the console."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.parse import urlsplit

from pydantic import Field, PositiveFloat, SecretStr, field_validator

from config.settings.group import Group, prefixed

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ConsoleSettings(Group):
    """What `relais console` goes by."""

    model_config = prefixed("console_")

    host: str = Field("127.0.0.1", description="address that the console listens on")
    port: int = Field(8474, ge=0, le=65535, description="port of the console")
    idle: PositiveFloat = Field(1800.0, description="time without use after which a login ends")
    session: PositiveFloat = Field(36000.0, description="longest time that a login at the console lasts")
    time_zone: str = Field("Europe/Paris", description="time zone in which the console tells times")
    product_search: bool = Field(
        True, alias="product_search", description="keep an index of which orders hold a product, for the search"
    )
    proxies: str | None = Field(
        None,
        description="proxies before the console whose `X-Forwarded-For` is believed: addresses or networks, `a,b`",
    )
    url: str | None = Field(
        None, description="the console as browsers reach it, `https://…`; needed for a login by OpenID Connect"
    )
    oidc_issuer: str | None = Field(
        None, description="identity provider (OpenID Connect) by which people may log in to the console, `https://…`"
    )
    oidc_client_id: str | None = Field(None, description="the console's id at the identity provider")
    oidc_client_secret: SecretStr | None = Field(None, description="the console's secret at the identity provider")

    @field_validator("proxies")
    @classmethod
    def _are_addresses(cls, value: str | None) -> str | None:
        for each in (value or "").split(",") if value else ():
            try:
                ip_network(each.strip())
            except ValueError:
                raise ValueError("must be addresses or networks such as 10.0.0.0/8, several as a,b") from None
        return value

    @field_validator("url", "oidc_issuer")
    @classmethod
    def _cannot_be_listened_to(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        plain = parts.scheme == "http" and parts.hostname in LOOPBACK
        if not (parts.scheme == "https" or plain) or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be https://…, or http:// on this very host, without query and fragment")
        return value
