"""Whether an ERP's address can be reached: its name, a connection, its certificate, and what time it is there.

No request carries credentials; that of the clock is a GET of the address, which any web server answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from config.errors import first_line
from config.settings import Settings
from orders.sentences import count
from workers.erp.checks.finding import CheckFinding, CheckVerdict, within
from workers.erp.credentials import ClientTls, Pins, TlsOptions
from workers.erp.failures import Unfit

NAME: Final = "name"
REACH: Final = "reach"
CERTIFICATE: Final = "certificate"
CLOCK: Final = "ERP's clock"
SOON: Final = 14  # days that a certificate should last yet


class ErpAddress(NamedTuple):
    """Where an ERP is, and how its certificate is believed."""

    settings: Settings
    url: URL
    host: str
    port: int
    tls: TlsOptions | None

    def context(self) -> ssl.SSLContext:
        """As the connector has it. Raises Unfit."""
        pinned = self.settings.erp.pin is not None
        return ClientTls(self.tls or TlsOptions(), pinned=pinned).context()


Look = Callable[[ErpAddress], Awaitable[CheckFinding]]
PORTS: Final = {"http": 80, "https": 443, "sftp": 22}


async def look_at_address(
    settings: Settings, budget: float, tls: TlsOptions | None = None
) -> AsyncIterator[CheckFinding]:
    """What is found of the address, each look within `budget` seconds; after one that would fail there is no other."""
    url = URL(settings.need("erp_url"))
    port = url.port or PORTS.get(url.scheme)
    if url.host is None or port is None:  # a directory
        return
    for name, look in LOOKS if url.scheme in ("http", "https") else LOOKS[:2]:
        late = CheckVerdict.NOT_KNOWN if name == CLOCK else CheckVerdict.WOULD_FAIL
        finding = await within(budget, name, look(ErpAddress(settings, url, str(url.host), port, tls)), late)
        yield finding
        if finding.verdict is CheckVerdict.WOULD_FAIL:
            break


async def _name(at: ErpAddress) -> CheckFinding:
    host = at.host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, at.port, type=1)  # SOCK_STREAM
    except OSError as error:
        return CheckFinding(NAME, CheckVerdict.WOULD_FAIL, f"{host}: {error.strerror or first_line(error)}")
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    return CheckFinding(NAME, CheckVerdict.OK, f"{host} is {', '.join(addresses[:4])}")


async def _reach(at: ErpAddress) -> CheckFinding:
    began = time.monotonic()
    try:
        _, writer = await asyncio.open_connection(at.host, at.port)
    except OSError as error:
        return CheckFinding(
            REACH, CheckVerdict.WOULD_FAIL, f"{at.host}:{at.port}: {error.strerror or first_line(error)}"
        )
    await _close(writer)
    took = 1000 * (time.monotonic() - began)
    return CheckFinding(REACH, CheckVerdict.OK, f"{at.host}:{at.port} takes connections, within {took:.0f} ms")


async def _certificate(at: ErpAddress) -> CheckFinding:
    if at.url.scheme != "https":
        if at.settings.erp.pin:
            return CheckFinding(CERTIFICATE, CheckVerdict.WOULD_FAIL, "one is pinned, and RELAIS_ERP_URL is not https")
        local = at.host in ("127.0.0.1", "::1", "localhost")
        plain = "none: orders and credentials go in plain text"
        return CheckFinding(CERTIFICATE, CheckVerdict.OK, "none is needed on this machine" if local else plain)
    pins = Pins.of(at.settings.erp.pin) if at.settings.erp.pin else None
    try:
        context = at.context()
        _, writer = await asyncio.open_connection(at.host, at.port, ssl=context, server_hostname=at.host)
    except Unfit as error:
        return CheckFinding(CERTIFICATE, CheckVerdict.WOULD_FAIL, f"ours cannot be shown: {error.detail}")
    except ssl.SSLCertVerificationError as error:
        return CheckFinding(CERTIFICATE, CheckVerdict.WOULD_FAIL, error.verify_message)
    except (OSError, ssl.SSLError) as error:
        return CheckFinding(CERTIFICATE, CheckVerdict.WOULD_FAIL, f"TLS: {first_line(error)}")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await _close(writer)
    return _judged(shown, pins, datetime.now(UTC))


def _judged(shown: bytes, pins: Pins | None, now: datetime) -> CheckFinding:
    """What is to be said of a certificate (DER) that the ERP showed."""
    from cryptography.x509 import load_der_x509_certificate

    digest = hashlib.sha256(shown)
    if pins is not None and digest.digest() not in pins.allowed:
        return CheckFinding(CERTIFICATE, CheckVerdict.WOULD_FAIL, f"not the pinned one; it shows {digest.hexdigest()}")
    until = load_der_x509_certificate(shown).not_valid_after_utc
    days = (until - now).days
    told = f"{'the pinned one' if pins else 'valid'}, until {until:%Y-%m-%d}, which is {count(days, 'day')} away"
    return CheckFinding(CERTIFICATE, CheckVerdict.OK if days >= SOON or pins else CheckVerdict.WOULD_FAIL, told)


async def _clock(at: ErpAddress) -> CheckFinding:
    pins = Pins.of(at.settings.erp.pin) if at.settings.erp.pin else None
    try:
        context = at.context() if at.url.scheme == "https" else True
        connector = aiohttp.TCPConnector(ssl=pins or True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            before = datetime.now(UTC)
            bare, headers = at.url.with_user(None), {"User-Agent": "relais"}
            async with session.get(bare, allow_redirects=False, headers=headers, ssl=context) as response:
                said = response.headers.get("Date")
            ours = before + (datetime.now(UTC) - before) / 2
    except (aiohttp.ClientError, OSError, Unfit) as error:
        return CheckFinding(CLOCK, CheckVerdict.NOT_KNOWN, f"it does not tell: {first_line(error)}")
    theirs = None
    with suppress(ValueError):
        theirs = parsedate_to_datetime(said) if said else None
    if theirs is None:
        return CheckFinding(CLOCK, CheckVerdict.NOT_KNOWN, "its answers bear no date")
    return compared(CLOCK, (theirs.replace(tzinfo=theirs.tzinfo or UTC) - ours).total_seconds(), at.settings)


LOOKS: Final[Sequence[tuple[str, Look]]] = (
    (NAME, _name),
    (REACH, _reach),
    (CERTIFICATE, _certificate),
    (CLOCK, _clock),
)


def compared(name: str, ahead: float, settings: Settings) -> CheckFinding:
    """What is to be said of a clock that is so many seconds ahead of ours, told in whole ones."""
    most = settings.trust.receipt_drift
    side = "ahead of" if ahead > 0 else "behind"
    told = "as ours, within a second" if abs(ahead) < 1.5 else f"{abs(ahead):,.0f} s {side} ours"
    if abs(ahead) <= most:
        return CheckFinding(name, CheckVerdict.OK, told)
    return CheckFinding(name, CheckVerdict.WOULD_FAIL, f"{told}, more than RELAIS_RECEIPT_DRIFT allows ({most:g} s)")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
