"""RELAIS_REDIS_URL in all its forms: one server, or one service that three Sentinels watch, with TLS or without.

- `redis://user:password@host:6379/0`, and `rediss://…` with TLS
- `sentinel://user:password@h1:26379,h2:26379/0?service=mymaster&sentinel_password=…`, and `sentinels://…` with TLS

User and password are those of the servers; the Sentinels' own are in the query. Any other URL is told what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

PORTS: Final = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379}
SECURED: Final = ("rediss", "sentinels")
TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")  # as redis-py calls them
OF_SENTINEL: Final = ("service", "sentinel_username", "sentinel_password")

_PARTS: Final = re.compile(
    r"(?P<scheme>\w+)://(?:(?P<user>[^@]*)@)?(?P<hosts>[^@/?]+)(?:/(?P<path>[^?]*))?(?:\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")


class BadRedisUrl(ValueError):
    """The URL is none of the forms; the message says why, and holds no password."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is: the server, or the Sentinels that know the server of `service`."""

    hosts: tuple[tuple[str, int], ...]
    database: int
    username: str | None
    password: str | None = field(repr=False)
    service: str | None  # None: `hosts` is the server itself
    sentinel_username: str | None
    sentinel_password: str | None = field(repr=False)
    tls: dict[str, Any] | None  # redis-py's and kombu's arguments; None: no TLS


def redis_address(url: str) -> RedisAddress:
    """What the URL says. Raises BadRedisUrl."""
    parts = _PARTS.fullmatch(url)
    if parts is None or parts["scheme"] not in PORTS:
        raise BadRedisUrl(f"must begin with {', '.join(f'{scheme}://' for scheme in PORTS)} and name a host")
    scheme = parts["scheme"]
    hosts = tuple(_host(each, PORTS[scheme]) for each in parts["hosts"].split(","))
    query = _query(parts["query"] or "", scheme)
    if (service := query.get("service")) is None and len(hosts) > 1:
        raise BadRedisUrl("names several servers: Relais follows a failover by Sentinels only, sentinel://…")
    user, _, password = (parts["user"] or "").partition(":")
    return RedisAddress(
        hosts,
        _database(parts["path"] or "0"),
        unquote(user) or None,
        unquote(password) or None,
        service,
        query.get("sentinel_username"),
        query.get("sentinel_password"),
        _tls(query, scheme),
    )


def _host(written: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(written)
    if found is None or not 0 < int(found["port"] or port) < 65536:
        raise BadRedisUrl(f"{written!r} is no host with a port")
    return found["host"].strip("[]"), int(found["port"] or port)


def _database(path: str) -> int:
    if not re.fullmatch(r"\d{1,5}", path):
        raise BadRedisUrl(f"the database is a number, not {path!r}")
    return int(path)


def _query(written: str, scheme: str) -> dict[str, str]:
    query = dict(parse_qsl(written, keep_blank_values=True))
    watched, secured = scheme.startswith("sentinel"), scheme in SECURED
    known = (*(TLS if secured else ()), *(OF_SENTINEL if watched else ()))
    for name in query:
        if name not in known:
            raise BadRedisUrl(f"{name} is nothing that a {scheme}:// URL can say")
    if watched and not query.get("service"):
        raise BadRedisUrl("does not name the service that the Sentinels watch: ?service=…")
    return query


def _tls(query: dict[str, str], scheme: str) -> dict[str, Any] | None:
    if scheme not in SECURED:
        return None
    checked = query.get("ssl_check_hostname", "true").lower()
    if checked not in ("true", "false"):
        raise BadRedisUrl("ssl_check_hostname is true or false")
    files: dict[str, Any] = {name: query[name] for name in TLS[:3] if name in query}
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        raise BadRedisUrl("ssl_keyfile goes with ssl_certfile")
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": checked == "true", **files}
