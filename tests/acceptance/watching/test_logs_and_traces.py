"""One run with everything that goes wrong, watched: what its processes log, and the traces that they send.

Orders carry secrets wherever they can carry text; the run is one for all tests of this module.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from config.embedded.leash import Leash
from orders.journal import connect
from tests.acceptance.apart import MEDICINE, SPILL_KEY, Apart
from tests.acceptance.watching.collector import Seen, collector
from tests.cli import clean_environment, command
from tests.waiting import until
from workers.erp.sim.book import read_effects

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

NOTE, PHARMACY, TOKEN, SEAL, REASON = "Mme Dupont 1953", "MARTINEZ7", "erp-token-51966", "5e" * 32, "chez Leclerc"
FORGED = "rk_forged-48879"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@dataclass
class Run:
    """What a run left behind."""

    lines: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    requests: dict[str, str] = field(default_factory=dict)  # of each order
    attempts: Counter[str] = field(default_factory=Counter)
    effects: dict[str, str | None] = field(default_factory=dict)  # `traceparent` that the ERP got with each order
    spans: list[Seen] = field(default_factory=list)
    traced: str = ""
    secrets: list[str] = field(default_factory=list)

    def steps(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines]
        return [each for each in found if each["logger"] == "relais.steps" and each["event"] == event]


class Story:
    """The run as it goes."""

    def __init__(self, parts: Apart, run: Run) -> None:
        self.parts, self.run, self._number = parts, run, 0

    def order(self, **more: object) -> dict[str, object]:
        self._number += 1
        lines = [{"product": MEDICINE, "quantity": 2}]
        return {"pharmacy": PHARMACY, "reference": f"{self._number}-DUPONT", "lines": lines, "note": NOTE, **more}

    def post(self, path: str, body: bytes, key: str | None = None, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(
            self.parts.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        request.add_header("Authorization", f"Bearer {key or self.parts.key}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def accept(self, request: str, **headers: str) -> str:
        """One order that is taken; its id."""
        status, answer = self.post("/orders", json.dumps(self.order()).encode(), X_Request_ID=request, **headers)
        assert status == 202, answer
        order_id = str(json.loads(answer)["id"])
        self.run.ids.append(order_id)
        self.run.requests[order_id] = request
        return order_id

    def cli(self, *arguments: str) -> None:
        asyncio.run(self._cli(*arguments))

    async def _cli(self, *arguments: str) -> None:
        env = clean_environment(self.parts.env) | {"RELAIS_OPERATOR": "op.bernard"}
        process = await asyncio.create_subprocess_exec(*command(*arguments), env=env, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0

    def dial(self, **knobs: object) -> None:
        request = urllib.request.Request(f"{self.parts.control}/_dial", json.dumps(knobs).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def ask(self, query: str) -> list[Any]:
        async def run() -> list[Any]:
            engine = connect(self.parts.postgres.url)
            try:
                async with engine.connect() as connection:
                    return list((await connection.execute(text(query))).all())
            finally:
                await engine.dispose()

        return asyncio.run(run())

    def delivered(self) -> bool:
        return not self.ask("SELECT 1 FROM deliveries WHERE state NOT IN ('delivered', 'cancelled')")

    def tell(self) -> None:
        """Everything that can go wrong, and all of it delivered in the end."""
        traced = self.accept("r-traced", traceparent=TRACEPARENT)
        until(self.delivered, 20, what="the traced order is delivered")
        self.cli("pause", "erp", "--because", REASON)
        self.run.requests |= dict.fromkeys(self.batch("r-batch", 3), "r-batch")
        withdrawn = self.accept("r-withdrawn")
        request = urllib.request.Request(f"{self.parts.url}/orders/{withdrawn}", method="DELETE")
        request.add_header("Authorization", f"Bearer {self.parts.key}")
        urllib.request.urlopen(request, timeout=10).close()
        for body in (b"{" + NOTE.encode(), json.dumps(self.order(lines=[{"product": NOTE}])).encode(), b"[1]"):
            assert self.post("/orders", body)[0] == 422
        assert self.post("/orders", json.dumps(self.order()).encode(), key=FORGED)[0] == 401
        self.dial(garbage="html")
        self.cli("resume", "--because", "a test", "erp")
        self.accept("r-garbage")
        suspicious = "SELECT 1 FROM attempts WHERE outcome = 'suspicious'"
        until(lambda: self.ask(suspicious), 30, what="the ERP talks rubbish")
        self.parts.postgres.kill()
        until(self.spilled, 20, 0.2, "an order in the spill")
        self.parts.postgres.start()
        self.dial()
        until(self.delivered, 60, 0.2, "all delivered")
        (found,) = self.ask(f"SELECT traceparent FROM orders WHERE id = '{traced}'")
        assert found[0][:36] == TRACEPARENT[:36]
        self.run.traced = traced

    def spilled(self) -> bool:
        try:
            self.accept("r-spilled", traceparent=TRACEPARENT.replace("0af7", "1af7"))
        except (AssertionError, OSError):
            return False
        return True

    def batch(self, request: str, count: int) -> list[str]:
        body = "\n".join(json.dumps(self.order()) for _ in range(count)).encode()
        status, answer = self.post("/orders/batch", body, X_Request_ID=request)
        assert status == 200
        return [str(json.loads(line)["id"]) for line in answer.splitlines()]


@contextmanager
def running(leash: Leash, env: Mapping[str, str]) -> Iterator[Story]:
    """A story whose processes run, and whose `run` has on leaving what they left behind."""
    data_dir, run = Path(tempfile.mkdtemp(prefix="relais-test-")), Run()
    parts = Apart(data_dir, leash)
    parts.env |= {"RELAIS_ERP_TOKEN": TOKEN, "RELAIS_SEAL_KEY": SEAL, "RELAIS_LOG_LEVEL": "INFO", **env}
    story = Story(parts, run)
    try:
        parts.sim()
        parts.api()
        parts.worker()
        yield story
        run.attempts = Counter(
            {str(row[0]): row[1] for row in story.ask("SELECT order_id, count(*) FROM attempts GROUP BY 1")}
        )
        run.effects = {each["id"]: each.get("traceparent") for each in read_effects(data_dir / "erp-sim.jsonl")}
        run.secrets = [
            parts.key,
            make_url(parts.postgres.url).password or "?",
            make_url(parts.valkey.url).password or "?",
        ]
        _, *logs = parts.logs
        parts.stop_all()
        run.lines = [line for log in logs for line in log.read_text().splitlines()]
    finally:
        parts.close()
        shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture(scope="module")
def told(leash: Leash) -> Iterator[Run]:
    """The run, when it is over."""
    with collector() as kept:
        with running(leash, {"RELAIS_OTEL_ENDPOINT": kept.url, "RELAIS_OPERATOR": "op.bernard"}) as story:
            story.tell()
            until(lambda: "POST /orders" in kept.of(TRACE) and len(kept.of(TRACE)) > 2, 10, what="the trace came in")
            until(lambda: '"act":"resume"' in story.parts.logs[2].read_text(), 10, what="acts are logged")
        story.run.spans = kept.spans
        yield story.run


def test_every_line_is_json_and_none_holds_a_payload_a_key_or_free_text(told: Run) -> None:
    assert len(told.lines) > 20
    for line in told.lines:
        assert {"time", "level", "logger", "event"} <= json.loads(line).keys(), line
    whole = "\n".join(told.lines)
    for secret in (
        NOTE,
        "Dupont",
        "DUPONT",
        PHARMACY,
        MEDICINE,
        TOKEN,
        SEAL,
        SPILL_KEY,
        REASON,
        FORGED,
        *told.secrets,
    ):
        assert secret not in whole
    events = {json.loads(line)["event"] for line in told.lines}
    assert {"the journal takes no orders, they go to the spill", "circuit", "unspilled", "leading"} <= events


def test_an_order_has_a_line_a_step_at_most_and_its_request_in_each(told: Run) -> None:
    accepted = Counter(each["order"] for each in told.steps("accept"))
    assert accepted == Counter(dict.fromkeys(told.requests, 1))
    assert {each["outcome"] for each in told.steps("accept")} == {"journal", "spill"}
    settled = told.steps("settle")
    assert {each["order"] for each in settled if each["state"] == "delivered"} == {
        order_id for order_id, request in told.requests.items() if request != "r-withdrawn"
    }
    for order_id, count in Counter(each["order"] for each in settled).items():
        assert count <= told.attempts[order_id]
    for each in (*told.steps("accept"), *settled, *told.steps("rescue"), *told.steps("cancel")):
        assert each["request"] == told.requests[each["order"]]
    assert [told.requests[each["order"]] for each in told.steps("cancel")] == ["r-withdrawn"]


def test_acts_are_told_with_who_did_them(told: Run) -> None:
    acts = [(each["operator"], each["act"], each["backend"]) for each in told.steps("operation")]
    assert acts == [("op.bernard", "pause", "erp"), ("op.bernard", "resume", "erp")]


def test_one_trace_goes_from_the_request_to_the_erp(told: Run) -> None:
    found = {(span.service, span.name): span for span in told.spans if span.trace == TRACE}
    request, dispatch = found["relais-api", "POST /orders"], found["relais-dispatcher", "dispatch"]
    deliver, call = found["relais-worker", "deliver"], found["relais-worker", "POST /orders"]
    assert len(found) == 4
    assert (request.parent, dispatch.parent) == (PARENT, request.id)
    assert (deliver.parent, call.parent) == (dispatch.id, deliver.id)
    assert told.effects[told.traced] == f"00-{TRACE}-{call.id}-01"
    batch = next(s for s in told.spans if s.name == "deliver batch" and dispatch.id in s.links)
    assert deliver.links == (batch.id,)
    assert (deliver.attributes["relais.order.id"], deliver.attributes["relais.outcome"]) == (told.traced, "accepted")
    assert request.attributes["http.response.status_code"] == "202"
    assert call.attributes["http.response.status_code"] == "201"


def test_an_order_that_was_spilled_keeps_its_trace(told: Run) -> None:
    spans = [span.name for span in told.spans if span.trace == TRACE.replace("0af7", "1af7")]
    assert {"POST /orders", "dispatch", "deliver"} <= set(spans)


def test_every_traced_order_reaches_the_erp_in_its_trace_and_no_span_holds_a_payload(told: Run) -> None:
    delivered = {i for i, request in told.requests.items() if request != "r-withdrawn"}
    assert delivered == {i for i, context in told.effects.items() if context is not None}
    for span in told.spans:
        whole = json.dumps(span.attributes)
        assert not any(secret in whole for secret in (NOTE, "DUPONT", PHARMACY, TOKEN, REASON, *told.secrets))


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1"])
def test_without_traces_or_with_a_dead_collector_orders_go_as_ever(leash: Leash, endpoint: str | None) -> None:
    with running(leash, {"RELAIS_OTEL_ENDPOINT": endpoint} if endpoint else {}) as story:
        order_id = story.accept("r-1", traceparent=TRACEPARENT)
        until(story.delivered, 20, what="it is delivered")
        (found,) = story.ask("SELECT traceparent FROM orders")
        assert (found[0] is None) == (endpoint is None)
    assert (story.run.effects[order_id] is None) == (endpoint is None)
    assert not any(json.loads(line)["level"] in ("error", "critical") for line in story.run.lines)
