"""What a webhook is told, how it is signed, where it may be, and what becomes of it after what it answered."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from orders.errors import Malformed
from orders.webhooks import endpoints
from orders.webhooks.payload import new_secret, payload, signed
from tests.machines.tools import ROOT
from workers.webhooks.retry_policy import Answer, WebhookHealth, backoff, decide, judge

DOCS = ROOT / "docs" / "webhooks.md"
NOW = datetime(2024, 10, 19, 12, tzinfo=UTC)
TOLD, DOWN, BUSY, GONE = (
    Answer(True, "answered 204", 204),
    Answer(False, "no connection"),
    Answer(False, "answered 429", 429, pause=90.0),
    Answer(False, "answered 410", 410),
)


def event(**changes: Any) -> dict[str, Any]:
    body = {
        "lines": [{"product": "3400937318044", "quantity": 5}, {"product": "3400938615470", "quantity": 2}],
        "note": "pour Mme Durand",
        "pharmacy": "990000002",
        "reference": "CMD-é1",
    }
    return {
        "at": NOW,
        "state": "delivered",
        "reason": None,
        "error": None,
        "attempts": 2,
        "order_id": UUID(int=7),
        "pharmacy": "990000002",
        "reference": "CMD-é1",
        "body": json.dumps(body).encode(),
        "erp_reference": "ERP-9",
        "receipt": json.dumps(
            [
                {"line": 2, "product": "3400938615470", "accepted": 2, "reason": None},
                {
                    "line": 1,
                    "product": "3400937318044",
                    "accepted": 3,
                    "reason": "out of stock",
                    "substitute": None,
                    "back_ordered": 1,
                    "expected": "2024-10-22",
                },
            ]
        ),
        **changes,
    }


def test_a_delivered_order_is_told_with_what_the_erp_accepted_of_each_line_and_without_its_note() -> None:
    body = payload(event())
    assert json.loads(body) == {
        "type": "order.delivered",
        "timestamp": "2024-10-19T12:00:00Z",
        "data": {
            "id": str(UUID(int=7)),
            "pharmacy": "990000002",
            "reference": "CMD-é1",
            "state": "delivered",
            "reason": None,
            "error": None,
            "attempts": 2,
            "erp_reference": "ERP-9",
            "lines": [
                {
                    "line": 1,
                    "product": "3400937318044",
                    "quantity": 5,
                    "accepted": 3,
                    "missing": 1,
                    "reason": "out of stock",
                    "substitute": None,
                    "back_ordered": 1,
                    "expected": "2024-10-22",
                },
                {
                    "line": 2,
                    "product": "3400938615470",
                    "quantity": 2,
                    "accepted": 2,
                    "missing": 0,
                    "reason": None,
                    "substitute": None,
                    "back_ordered": 0,
                    "expected": None,
                },
            ],
        },
    }
    assert b"Durand" not in body


def test_a_dead_order_is_told_with_its_reason_and_that_nothing_is_known_to_be_accepted() -> None:
    why = "lines.1.product: is withdrawn"
    dead = event(state="dead", reason="invalid", error=why, receipt=None, erp_reference=None, attempts=None)
    told = json.loads(payload(dead))
    data = told["data"]
    assert (told["type"], data["reason"], data["error"], data["attempts"]) == ("order.dead", "invalid", why, None)
    assert [(line["accepted"], line["missing"]) for line in data["lines"]] == [(None, None)] * 2


def test_each_secret_signs_as_the_reference_package_verifies() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    notice, body = uuid4(), payload(event())
    timestamp = int(datetime.now(UTC).timestamp())
    headers = signed(notice, timestamp, body, [new, old])
    assert headers["webhook-id"] == str(notice)
    for secret in (old, new):
        assert Webhook(secret).verify(body, headers) == json.loads(body)
    expected = Webhook(new).sign(str(notice), datetime.fromtimestamp(timestamp, UTC), body.decode())
    assert headers["webhook-signature"].split()[0] == expected
    for spoilt in (body.replace(b"ERP-9", b"ERP-8"), b"{}"):
        with pytest.raises(WebhookVerificationError):
            Webhook(new).verify(spoilt, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body, {**headers, "webhook-id": str(uuid4())})


def test_the_lines_printed_for_receivers_verify_what_is_genuine_and_nothing_else() -> None:
    printed: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, printed)
    old, new, body = new_secret(), new_secret(), payload(event())
    now = int(time.time())
    headers = signed(uuid4(), now, body, [new, old])
    for secret in (old, new):
        assert printed["receive"](secret, headers, body) == json.loads(body)
        assert printed["is_genuine"](secret, headers, body)
    stale = signed(uuid4(), now - 400, body, [new])
    for secret, told, content in ((new_secret(), headers, body), (new, headers, body + b" "), (new, stale, body)):
        assert printed["receive"](secret, told, content) is None
        assert not printed["is_genuine"](secret, told, content)


def test_what_the_docs_show_is_what_is_told() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    example, told = json.loads(shown), json.loads(payload(event()))
    assert (example.keys(), example["data"].keys()) == (told.keys(), told["data"].keys())
    assert example["data"]["lines"][0].keys() == told["data"]["lines"][0].keys()


@pytest.mark.parametrize(
    "url",
    [
        "https://pharmacy.example/hooks?x=1",
        "https://10.0.0.7:8443/",
        "http://localhost:9000/h",
        "http://127.0.0.1/",
        "http://[::1]:80/hook",
    ],
)
def test_urls_that_may_be_told(url: str) -> None:
    assert endpoints.check(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://pharmacy.example/",
        "http://127.0.0.1.example.com/",
        "http://2130706433/",
        "ftp://pharmacy.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/",
        "https://",
        "//pharmacy.example/",
        "pharmacy.example",
        "https://user:word@pharmacy.example/",
        "https://user@pharmacy.example/",
        "https://pharmacy.example/#part",
        "https://pharmacy.example:99999/",
        "https://pharmacy.example/\r\nX: y",
        "https://pharmacy.example/a b",
        "https://[::1/",
        "https://pharmacy.example/" + "x" * 2000,
        "",
    ],
)
def test_urls_that_may_not(url: str) -> None:
    with pytest.raises(Malformed) as refused:
        endpoints.check(url)
    assert [fault.field for fault in refused.value.faults] == ["url"]


def test_plain_http_elsewhere_is_for_an_operator_to_allow() -> None:
    assert endpoints.check("http://hooks.internal/", plain_http=True)
    with pytest.raises(Malformed):
        endpoints.check("http://user:word@hooks.internal/", plain_http=True)


@pytest.mark.parametrize(
    ("since", "answers", "health"),
    [
        (None, [TOLD, TOLD], WebhookHealth(None)),
        (None, [None], WebhookHealth(None)),
        (NOW, [None], WebhookHealth(NOW)),
        (NOW, [TOLD], WebhookHealth(None)),
        (None, [TOLD, DOWN], WebhookHealth(None)),
        (None, [DOWN, None], WebhookHealth(NOW, "no connection")),
        (NOW - timedelta(days=6), [DOWN], WebhookHealth(NOW - timedelta(days=6), "no connection")),
        (NOW - timedelta(days=7), [DOWN], WebhookHealth(NOW - timedelta(days=7), "no connection", disabled=True)),
        (NOW - timedelta(days=7), [DOWN, TOLD], WebhookHealth(None)),
        (None, [TOLD, BUSY], WebhookHealth(NOW, "answered 429")),
        (NOW - timedelta(days=8), [TOLD, BUSY], WebhookHealth(NOW, "answered 429")),
        (None, [TOLD, GONE], WebhookHealth(NOW, "answered 410", disabled=True)),
    ],
)
def test_how_a_webhook_is_judged(since: datetime | None, answers: list[Answer | None], health: WebhookHealth) -> None:
    assert judge(since, answers, NOW) == health


def wait(answer: Answer, attempts: int, before: datetime | None, after: WebhookHealth) -> tuple[float, int, bool]:
    fate = decide(answer, attempts, before, after, NOW)
    return (fate.due_at - NOW).total_seconds(), fate.attempts, fate.holding


def test_what_fails_while_others_are_told_counts_and_holds_nobody_back() -> None:
    for attempts in (0, 1, 5):
        seconds, counted, holding = wait(DOWN, attempts, None, WebhookHealth(None))
        assert (counted, holding) == (attempts + 1, False)
        assert 0.8 <= seconds / (2.0 * 2**attempts) <= 1.2


def test_an_outage_counts_once_and_is_probed_after_as_long_as_it_has_lasted() -> None:
    assert wait(DOWN, 0, None, WebhookHealth(NOW))[1:] == (1, True)
    for elapsed, pause in ((0, 2), (2, 2), (60, 60), (1800, 1800), (7200, 3600), (6 * 86400, 3600)):
        since = NOW - timedelta(seconds=elapsed)
        seconds, counted, holding = wait(DOWN, 1, since, WebhookHealth(since))
        assert (counted, holding) == (1, True)
        assert 0.8 <= seconds / pause <= 1.2


def test_a_pause_that_is_asked_for_is_honoured_and_counts_against_nothing() -> None:
    assert wait(BUSY, 0, None, WebhookHealth(NOW)) == (90.0, 0, True)


def test_what_was_not_sent_is_due_at_once_as_it_was() -> None:
    fate = decide(None, 3, None, WebhookHealth(NOW), NOW)
    assert (fate.told, fate.due_at, fate.attempts, fate.holding, fate.error) == (False, NOW, 3, False, None)


def test_the_backoff_doubles_to_an_hour() -> None:
    assert backoff(0) == 0
    assert 1.6 <= backoff(1) <= 2.4
    assert 2880 <= backoff(12) <= 4320
    assert backoff(32000) <= 4320
