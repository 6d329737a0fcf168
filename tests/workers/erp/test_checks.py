"""What a look at an address finds: a certificate that is not to be trusted, a clock that is off, a silence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.machines.erp import Handler, raw_server, response, settings_for
from tests.machines.tls import tls
from workers.erp.checks.address import compared, look_at_address
from workers.erp.checks.finding import CheckFinding, CheckVerdict


async def found(url: str, budget: float = 20.0, **more: Any) -> dict[str, CheckFinding]:
    return {each.name: each async for each in look_at_address(settings_for(url, **more), budget)}


def dated(said: str | None) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(404, **({"Date": said} if said else {})))
        await writer.drain()

    return handler


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(handler) as url:
        yield url


@pytest.mark.parametrize(
    ("off", "verdict", "says"),
    [
        (timedelta(), CheckVerdict.OK, "as ours, within a second"),
        (timedelta(seconds=90), CheckVerdict.OK, "90 s ahead of ours"),
        (
            timedelta(hours=-2),
            CheckVerdict.WOULD_FAIL,
            "7,200 s behind ours, more than RELAIS_RECEIPT_DRIFT allows (300 s)",
        ),
    ],
)
def test_the_clock_of_an_erp_is_held_against_ours(off: timedelta, verdict: CheckVerdict, says: str) -> None:
    async def work() -> None:
        async with raw_server(dated(format_datetime(datetime.now(UTC) + off, usegmt=True))) as url:
            clock = (await found(url))["ERP's clock"]
        assert clock.verdict is verdict
        late = ((says.replace("90", str(90 - n)), says.replace("7,200", f"{7200 + n:,}")) for n in range(20))
        assert clock.detail in {each for pair in late for each in pair}, "what a busy machine takes for it is no drift"

    asyncio.run(work())


@pytest.mark.parametrize("said", [None, "yesterday"])
def test_an_erp_that_tells_no_time_is_not_known_to_be_off(said: str | None) -> None:
    async def work() -> None:
        async with raw_server(dated(said)) as url:
            clock = (await found(url))["ERP's clock"]
        assert (clock.verdict, clock.detail) == (CheckVerdict.NOT_KNOWN, "its answers bear no date")

    asyncio.run(work())


def test_who_is_silent_is_waited_for_no_longer_than_the_time_of_a_look() -> None:
    async def work() -> None:
        began = asyncio.get_running_loop().time()
        async with silent() as url:
            clock = (await found(url, 1.0))["ERP's clock"]
        assert (clock.verdict, clock.detail) == (CheckVerdict.NOT_KNOWN, "no answer within 1 s")
        assert asyncio.get_running_loop().time() - began < 10

    asyncio.run(work())


def test_a_certificate_is_believed_by_its_pin_or_its_authority(tmp_path: Path) -> None:
    async def work() -> None:
        async with tls(tmp_path) as (url, pin, _):
            unknown = (await found(url))["certificate"]
            pinned = await found(url, erp_pin=pin)
            other = (await found(url, erp_pin="0" * 64))["certificate"]
        assert unknown.verdict is CheckVerdict.WOULD_FAIL
        assert pinned["certificate"].verdict is CheckVerdict.OK
        assert pinned["certificate"].detail.startswith("the pinned one, until 20")
        assert (other.verdict, other.detail) == (CheckVerdict.WOULD_FAIL, f"not the pinned one; it shows {pin}")

    asyncio.run(work())


def test_an_address_that_is_a_directory_has_no_name_to_look_up() -> None:
    assert asyncio.run(found("file:///var/spool/orders")) == {}


def test_a_difference_below_a_second_and_a_half_is_none() -> None:
    settings = settings_for("http://127.0.0.1:1", receipt_drift=2.0)
    assert compared("c", -1.2, settings).detail == "as ours, within a second"
    assert compared("c", -3.0, settings).verdict is CheckVerdict.WOULD_FAIL
