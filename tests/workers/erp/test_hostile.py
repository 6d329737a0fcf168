"""An ERP in somebody else's hands: whatever it answers costs a worker little time and little memory."""

import asyncio
import gzip
import json
import pickle
import resource
import subprocess
import sys
import time
from uuid import uuid4

import pytest

from tests.cli import clean_environment
from tests.machines.erp import an_order, connector, raw_server, read_request, receipt_for, response, submit_one
from tests.machines.tools import ROOT
from workers.erp.failures import TABLE, Met
from workers.erp.http.connector import MOST_HEALTH
from workers.erp.port import Kind, Outcome
from workers.erp.transport import MOST_BYTES

MOST_SECONDS, MOST_MEMORY = 1.0, 128 * 1024 * 1024  # for an answer of a mebibyte; it took 3.5 s and a gibibyte

EACH = """
import os, pickle, resource, sys, time
from datetime import UTC, datetime
from uuid import uuid4
from tests.machines.erp import an_order
from workers.erp.failures import Unfit
from workers.erp.http.listing import read_page
from workers.erp.http.answers import read_found, read_pending, read_receipt, read_refusal

since = datetime(2026, 1, 5, tzinfo=UTC)
READ = {
    "receipt": lambda raw: read_receipt(raw, an_order(), substitutes=False),
    "found": lambda raw: read_found(raw, [uuid4()]),
    "page": lambda raw: read_page(raw, since, since, None),
    "pending": read_pending,
    "refusal": read_refusal,
}


before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def told(of, raw):
    began = time.process_time()
    try:
        READ[of](raw)
    except Unfit as error:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(time.process_time() - began, used * 1024, repr(str(error)), flush=True)


while sys.stdin.buffer.peek(1):
    of, raw = pickle.load(sys.stdin.buffer)
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    told(of, raw)
    os._exit(0)
"""


def filled(head: str, item: str, tail: str) -> bytes:
    """As many items as an answer has room for."""
    count = (MOST_BYTES - len(head) - len(tail)) // (len(item) + 1)
    return (head + ",".join([item] * count) + tail).encode()


LINE = '{"line":1,"product":"1","accepted":1}'
RECEIPT = '{"reference":"E","digest":"' + "0" * 64 + '","lines":['
ENTRY = json.dumps({"id": str(uuid4()), "state": "refused", "error": "x"})
LISTED = json.dumps({"id": str(uuid4()), "digest": "0" * 64, "reference": "E", "received_at": "2026-01-05T00:00:00Z"})

ANSWERS = [
    ("receipt", filled(RECEIPT, "{}", "]}"), "lines.0"),
    ("receipt", filled(RECEIPT, LINE, "]}"), "lines: Tuple should have at most 2000 items"),
    ("receipt", filled(RECEIPT, "[[]]", "]}"), "lines.0"),
    ("receipt", filled(RECEIPT[:-1] + "[],", '"x":[', "") + b"]", "body"),
    ("receipt", b"[" * MOST_BYTES, "recursion limit"),
    ("receipt", b'{"reference":' + b"9" * (MOST_BYTES - 20) + b"}", "body"),
    ("receipt", b'{"reference":"' + b"9" * (MOST_BYTES - 20) + b'"}', "reference"),
    ("found", filled('{"orders":[', "{}", "]}"), "orders.0"),
    ("found", filled('{"orders":[', ENTRY, "]}"), "orders: List should have at most 50 items"),
    ("found", filled('{"orders":[{"state":"accepted","lines":[', "{}", "]}]}"), "orders.0"),
    ("page", filled('{"next":null,"orders":[', "{}", "]}"), "orders.0"),
    ("page", filled('{"next":null,"orders":[', LISTED, "]}"), "orders: List should have at most 500 items"),
    ("pending", filled('{"x":[', "{}", "]}"), "reference"),
    ("refusal", filled('{"x":[', "{}", "]}"), "bytes"),
]


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What reading each of ANSWERS came to, in a process of its own: seconds, bytes, and why it is unfit."""
    env = clean_environment({}) | {"PYTHONPATH": str(ROOT)}
    given = b"".join(pickle.dumps((of, raw)) for of, raw, _ in ANSWERS)
    done = subprocess.run([sys.executable, "-c", EACH], input=given, env=env, capture_output=True, check=True)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("number", range(len(ANSWERS)), ids=[f"{of}-{n}" for n, (of, *_) in enumerate(ANSWERS)])
def test_an_answer_that_is_full_of_faults_is_read_no_further_than_the_first(told: list[str], number: int) -> None:
    assert len(told) == len(ANSWERS), "none was fit"
    seconds, memory, why = told[number].split(" ", 2)
    assert ANSWERS[number][2] in why
    assert float(seconds) < MOST_SECONDS
    assert int(memory) < MOST_MEMORY


def against(answer: bytes, *, endless: bytes = b"", every: float = 0.0) -> tuple[Outcome, float]:
    """What comes of an order at an ERP that answers so, and then goes on for ever; and how long it took."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        while endless:
            writer.write(endless)
            await writer.drain()
            await asyncio.sleep(every)
        await writer.drain()

    async def run() -> tuple[Outcome, float]:
        async with raw_server(handle) as url, connector(url, erp_timeout=2.0) as erp:
            began = time.monotonic()
            return await submit_one(erp, an_order()), time.monotonic() - began

    return asyncio.run(run())


@pytest.mark.parametrize(("more", "fit"), [(0, True), (1, False), (MOST_BYTES // 2, False)])
def test_what_a_probe_is_answered_is_bounded_before_it_is_parsed(more: int, fit: bool) -> None:
    start = b'{"status":"ok","x":"'
    body = start + b"x" * (MOST_HEALTH + more - len(start) - 2) + b'"}'

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(200, body))
        await writer.drain()

    async def run() -> bool:
        async with raw_server(handle) as url, connector(url) as erp:
            return await erp.probe()

    assert asyncio.run(run()) is fit


HEAD = b"HTTP/1.1 201 X\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "endless", "every", "met"),
    [
        (HEAD, b"X-More: " + b"x" * 4000 + b"\r\n", 0.0, Met.NOT_HTTP),
        (HEAD, b"X: x\r\n", 0.0, Met.NOT_HTTP),
        (b"HTTP/1.1 201 ", b"x" * 4096, 0.0, Met.NOT_HTTP),
        (HEAD + b"X-Long: ", b"x" * 4096, 0.0, Met.NOT_HTTP),
        (CHUNKED, b"10000\r\n" + b" " * 0x10000 + b"\r\n", 0.0, Met.OVERSIZED),
        (CHUNKED + b"1;x=", b"y" * 65536, 0.0, None),
        (CHUNKED, b"1\r\n \r\n", 0.1, Met.READ_TIMEOUT),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b" ", 0.1, Met.READ_TIMEOUT),
        (HEAD + b"Content-Length: 999999999999\r\n\r\n", b" " * 65536, 0.0, Met.OVERSIZED),
        (HEAD + b"\r\n", b" " * 65536, 0.0, Met.OVERSIZED),
    ],
)
def test_an_answer_without_end_is_cut_off(answer: bytes, endless: bytes, every: float, met: Met | None) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, seconds = against(answer, endless=endless, every=every)
    assert seconds < 4
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY
    if met is None:
        assert outcome.kind in (Kind.SUSPICIOUS, Kind.UNKNOWN)
    else:
        assert (outcome.kind, outcome.detail.startswith(TABLE[met].says)) == (TABLE[met].kind, True), outcome


def test_nothing_is_decompressed() -> None:
    packed = gzip.compress(bytes(256 * 1024 * 1024), 9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, _ = against(response(201, packed, Content_Encoding="gzip"))
    assert (outcome.kind, outcome.receipt) == (Kind.SUSPICIOUS, None)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY


def test_a_receipt_with_as_many_lines_as_an_order_may_have_is_read() -> None:
    order = an_order(*[2] * 2000)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await read_request(reader)
        writer.write(response(201, json.dumps(receipt_for(body)).encode()))
        await writer.drain()

    async def run() -> Outcome:
        async with raw_server(handle) as url, connector(url) as erp:
            return await submit_one(erp, order)

    assert asyncio.run(run()).kind is Kind.ACCEPTED
