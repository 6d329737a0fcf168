"""Webhooks on a whole Relais: whatever happens to the receiver or to the worker, every event arrives, signed."""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import psutil
import pytest
from standardwebhooks import Webhook

from config.embedded.leash import Leash
from config.embedded.ports import choose
from orders.queries import orders as order_queries
from orders.queries import webhooks as webhook_queries
from orders.webhooks import endpoints
from tests.acceptance.running import Relais, up
from tests.constants.turned import SOON, turned
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

QUICK = {
    "RELAIS_WEBHOOK_TIMEOUT": "3",
    **turned(**SOON, FIRST_PAUSE=0.5, LONGEST_PAUSE=2.0),
}


class Receiver:
    """A front end's receiver: it verifies and keeps every event, may be down, and may hold its answers back."""

    def __init__(self) -> None:
        self.port = choose()
        self.secret = ""
        self.got: list[tuple[str, dict[str, Any]]] = []  # webhook-id, event
        self.begun = 0
        self.answering = threading.Event()
        self.answering.set()

    def up(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.begun += 1
                receiver.answering.wait(60)
                event = Webhook(receiver.secret).verify(body, dict(self.headers))
                receiver.got.append((self.headers["webhook-id"], event))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A caller that hangs up, because it was killed or has waited long enough, is no fault."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def told(self) -> dict[UUID, dict[str, Any]]:
        """What it was told of each order, at last."""
        return {UUID(event["data"]["id"]): event for _, event in [*self.got]}

    def repeats(self) -> int:
        """How many events came more than once."""
        return sum(times > 1 for times in Counter(webhook_id for webhook_id, _ in [*self.got]).values())


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash, **QUICK) as whole:
        yield whole


@pytest.fixture
def receiver(relais: Relais) -> Iterator[Receiver]:
    receiver = Receiver()
    url = f"http://127.0.0.1:{receiver.port}/hooks"
    receiver.secret = relais.journal(lambda engine: endpoints.add(engine, "front", url))
    receiver.up()
    yield receiver
    receiver.answering.set()
    receiver.down()
    relais.journal(lambda engine: endpoints.remove(engine, "front"))


def all_told(relais: Relais, receiver: Receiver, ids: list[UUID], timeout: float = 60) -> None:
    until(lambda: set(receiver.told()) >= set(ids), timeout, 0.1, "the receiver was told of every order")
    until(lambda: relais.journal(webhook_queries.waiting) == [], timeout, 0.1, "and the journal knows")
    assert set(receiver.told()) == set(ids)


def standing(relais: Relais) -> str:
    (row,) = relais.journal(webhook_queries.every)
    return str(row["standing"])


def test_each_delivered_order_is_told_with_what_is_missing(relais: Relais, receiver: Receiver) -> None:
    """And with what comes later, which is not missing."""
    relais.dial(shortage_rate=0.3, back_order_rate=0.3)
    ids = relais.submit(150, note="pour Mme Durand")
    relais.delivered_once(ids)
    relais.dial()
    all_told(relais, receiver, ids)
    missing = later = 0
    for order_id, event in receiver.told().items():
        life = relais.journal(lambda engine, order_id=order_id: order_queries.order(engine, order_id))
        taken = {line["line"]: line for line in json.loads(json.dumps(life["receipt"]["lines"]))}
        lines = [
            {
                "line": number,
                "product": line["product"],
                "quantity": line["quantity"],
                "accepted": taken[number]["accepted"],
                "missing": line["quantity"] - taken[number]["accepted"] - taken[number]["back_ordered"],
                **{name: taken[number][name] for name in ("reason", "substitute", "back_ordered", "expected")},
            }
            for number, line in enumerate(life["order"]["lines"], 1)
        ]
        assert event["type"] == "order.delivered"
        assert event["data"] == {
            "id": str(order_id),
            "pharmacy": life["pharmacy"],
            "reference": life["reference"],
            "state": "delivered",
            "reason": None,
            "error": None,
            "attempts": 1,
            "erp_reference": life["receipt"]["reference"],
            "lines": lines,
        }
        assert all((line["missing"] + line["back_ordered"] > 0) == (line["reason"] is not None) for line in lines)
        assert all((line["back_ordered"] > 0) == (line["expected"] is not None) for line in lines)
        missing += sum(line["missing"] for line in lines)
        later += sum(line["back_ordered"] for line in lines)
    assert min(missing, later) > 0
    assert receiver.repeats() == 0


def test_a_receiver_that_was_down_is_told_of_everything_afterwards(relais: Relais, receiver: Receiver) -> None:
    receiver.down()
    ids = relais.submit(300)
    relais.delivered_once(ids)
    until(lambda: standing(relais) == "failing", what="the webhook is failing")
    receiver.up()
    all_told(relais, receiver, ids)
    assert standing(relais) == "fit"
    assert receiver.repeats() == 0


def test_a_receiver_that_hangs_delays_no_order(relais: Relais, receiver: Receiver) -> None:
    receiver.answering.clear()
    first = relais.submit(50)
    until(lambda: receiver.begun >= 2, what="it was called")
    second = relais.submit(300)
    relais.delivered_once(second, timeout=10)
    assert receiver.got == []
    receiver.answering.set()
    all_told(relais, receiver, first + second)


@pytest.mark.slow
def test_sigkill_of_the_worker_while_it_tells(relais: Relais, receiver: Receiver) -> None:
    receiver.answering.clear()
    ids = relais.submit(100)
    until(lambda: receiver.begun >= 3, what="it is being told")
    children = relais.worker_children()
    before = relais.kill("worker")
    for pid in children:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    receiver.answering.set()
    relais.restarted("worker", before)
    all_told(relais, receiver, ids)


def test_a_worker_that_is_stopped_tells_what_it_has_begun(relais: Relais, receiver: Receiver) -> None:
    receiver.answering.clear()
    ids = relais.submit(3)
    until(lambda: receiver.begun == 3, what="all are being told")
    before = relais.kill("worker", signal.SIGTERM)
    until(lambda: "sending what has been begun" in log(relais), what="it is stopping")
    receiver.answering.set()
    all_told(relais, receiver, ids)
    relais.restarted("worker", before)
    assert receiver.repeats() == 0


def log(relais: Relais) -> str:
    return (relais.data_dir / "logs" / "worker.log").read_text()
