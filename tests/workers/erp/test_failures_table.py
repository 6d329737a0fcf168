"""The table of failures: complete, documented row by row, and careful with what an ERP asks for."""

import re
import ssl
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp
import pytest

from config.retry_after import LONGEST_PAUSE, pause_asked
from tests.machines.tools import ROOT
from workers.erp.failures import TABLE, Again, Met, may_go_again, of_error, of_status
from workers.erp.port import Kind

CONTRACT = ROOT / "docs" / "erp-contract.md"
NOW = datetime(2024, 10, 19, 12, tzinfo=UTC)


def test_the_contract_shows_every_row_as_it_is() -> None:
    rows = dict(
        re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([a-z]+) \|", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert rows == {str(name): str(failure.kind) for name, failure in TABLE.items()}


def test_every_failure_is_in_the_table() -> None:
    assert set(Met) <= set(TABLE)


@pytest.mark.parametrize("status", [*(int(status) for status in HTTPStatus), 299, 399, 418, 499, 520, 599, 0, 999])
def test_every_status_has_its_failure(status: int) -> None:
    assert of_status(status).kind in set(Kind) - {
        Kind.ACCEPTED,
        Kind.DUPLICATE,
        Kind.PENDING,
        Kind.ABSENT,
        Kind.UNSENT,
    }


def test_only_what_surely_was_not_taken_may_go_again_to_an_erp_that_ignores_keys() -> None:
    for failure in TABLE.values():
        if may_go_again(failure, 1.0, idempotent=False):
            assert failure.kind in (Kind.TRANSIENT, Kind.THROTTLED)


@pytest.mark.parametrize(
    ("row", "asked", "again"),
    [
        ("429", None, False),
        ("429", 0.0, True),
        ("429", 2.0, True),
        ("429", 3.0, False),
        ("503", None, True),
        ("503", 2.0, True),
        ("503", 30.0, False),
        ("500", None, False),
        ("401", None, False),
    ],
)
def test_a_brief_pause_is_waited_for_and_a_long_one_is_not(row: str, asked: float | None, again: bool) -> None:
    failure = of_status(int(row))
    assert may_go_again(failure, asked, idempotent=True) is again


@pytest.mark.parametrize("met", [met for met in Met if TABLE[met].again is Again.IF_IDEMPOTENT])
def test_what_may_have_been_taken_goes_again_only_under_a_key(met: Met) -> None:
    failure = TABLE[met]
    assert failure.kind is Kind.UNKNOWN
    assert may_go_again(failure, None, idempotent=True)
    assert not may_go_again(failure, None, idempotent=False)


def alert(reason: str) -> Exception:
    """What aiohttp makes of an alert that comes after the request was sent."""
    error, cause = aiohttp.ClientOSError(1, reason), ssl.SSLError(1, reason)
    cause.reason = reason
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "sent", "met"),
    [
        (alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), True, Met.OUR_CERTIFICATE),
        (alert("TLSV1_ALERT_UNKNOWN_CA"), True, Met.OUR_CERTIFICATE),
        (alert("TLSV1_ALERT_INTERNAL_ERROR"), True, Met.RESET_AFTER),
        (aiohttp.ServerDisconnectedError(), False, Met.RESET_BEFORE),
        (aiohttp.ServerDisconnectedError(), True, Met.RESET_AFTER),
        (aiohttp.ClientConnectionResetError("closing"), False, Met.RESET_BEFORE),
        (ConnectionResetError(), True, Met.RESET_AFTER),
        (TimeoutError(), False, Met.CONNECT_TIMEOUT),
        (TimeoutError(), True, Met.READ_TIMEOUT),
        (aiohttp.SocketTimeoutError(), True, Met.READ_TIMEOUT),
        (ssl.SSLError(), False, Met.TLS),
        (ssl.SSLError(), True, Met.RESET_AFTER),
        (RuntimeError("a fault of ours"), True, Met.UNFORESEEN),
    ],
)
def test_an_exception_is_judged_by_whether_anything_was_sent(error: Exception, sent: bool, met: Met) -> None:
    assert of_error(error, sent)[0] is TABLE[met]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("nan", None),
        ("1e9", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("3600", 3600.0),
        ("31536000", LONGEST_PAUSE),
        ("9" * 400, LONGEST_PAUSE),
        ("Sat, 19 Oct 2024 12:00:30 GMT", 30.0),
        ("Sat, 19 Oct 2024 11:00:00 GMT", 0.0),
        ("Sat, 19 Oct 2024 12:00:30 -0000", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE),
        ("Sat, 99 Oct 2024 12:00:30 GMT", None),
        ("Mon, 20 Nov 9999999999 12:00:00 GMT", None),
        ("Sat, 19 Oct 2024 12:00:30 +99999999999999999999", None),
    ],
)
def test_retry_after_is_read_and_bounded(header: str | None, seconds: float | None) -> None:
    assert pause_asked(header, NOW) == seconds
