"""One table that says what every failure of an HTTP call means for the order that was in it.

The question is always the same: may the ERP have taken the order? TRANSIENT: surely not. UNKNOWN: perhaps, so it is
asked before the order goes again. REFUSED: it has decided. SUSPICIOUS: no fit ERP answers so. `docs/erp-contract.md`
gives the table to those who build the other side.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp

from workers.erp.port import Kind

# The first row that fits decides; a failure before the connection stood cannot have carried the order.
ERRORS: list[tuple[type[BaseException], Kind, str]] = [
    (aiohttp.ClientConnectorCertificateError, Kind.SUSPICIOUS, "the certificate is not the ERP's"),
    (aiohttp.ClientConnectorDNSError, Kind.TRANSIENT, "the ERP's name does not resolve"),
    (aiohttp.ClientConnectorSSLError, Kind.TRANSIENT, "TLS failed"),
    (aiohttp.ClientConnectorError, Kind.TRANSIENT, "connection refused"),
    (aiohttp.ConnectionTimeoutError, Kind.TRANSIENT, "no connection in time"),
    (aiohttp.ServerTimeoutError, Kind.UNKNOWN, "no answer in time"),
    (asyncio.TimeoutError, Kind.UNKNOWN, "no answer in time"),
    (aiohttp.ServerDisconnectedError, Kind.UNKNOWN, "the connection ended before the answer"),
    (aiohttp.ClientPayloadError, Kind.UNKNOWN, "the answer was cut short"),
    (aiohttp.ClientOSError, Kind.UNKNOWN, "the connection was reset"),
    (aiohttp.ClientResponseError, Kind.SUSPICIOUS, "the answer is not HTTP"),
    (aiohttp.ClientError, Kind.UNKNOWN, "the call failed"),
    (OSError, Kind.UNKNOWN, "the call failed"),
]

# What is not here goes by its class: other 4xx refuse the order, other 5xx leave it unknown, 3xx is suspicious.
STATUSES: dict[int, Kind] = {
    401: Kind.TRANSIENT,  # our credentials, never the order's fault
    403: Kind.TRANSIENT,
    404: Kind.TRANSIENT,  # seen once after a database restart; a wrong URL must not kill orders
    405: Kind.TRANSIENT,
    407: Kind.TRANSIENT,
    408: Kind.TRANSIENT,
    409: Kind.SUSPICIOUS,  # our key, other content: somebody used it before us
    421: Kind.TRANSIENT,
    425: Kind.TRANSIENT,
    429: Kind.THROTTLED,
    501: Kind.TRANSIENT,
    503: Kind.TRANSIENT,
}


def of_error(error: BaseException) -> tuple[Kind, str]:
    """The kind and the words for an exception of aiohttp or of the socket beneath."""
    for kind_of_error, kind, words in ERRORS:
        if isinstance(error, kind_of_error):
            return kind, words
    raise error


def of_status(status: int) -> Kind:
    """The kind of an answer that is not a 2xx."""
    if status in STATUSES:
        return STATUSES[status]
    if 400 <= status < 500:
        return Kind.REFUSED
    return Kind.UNKNOWN if status >= 500 else Kind.SUSPICIOUS


def retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header, of either form (RFC 9110 §10.2.3); None where there is none to be read."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,6}", value.strip()):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
