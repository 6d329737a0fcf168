"""A `$batch` as it is sent, and as SAP's CAP server and mock-sap answered one that was recorded."""

import json
from pathlib import Path

import pytest

from workers.erp.failures import Met, Unfit
from workers.erp.odata.batching import Change, Query, decoded, encoded

RECORDED = Path(__file__).parent / "recorded"
HTTP = b"Content-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}"
SIMPLE = b"--b\r\n%b\r\n--b--\r\n" % HTTP


def answers(name: str) -> tuple[bytes, str]:
    head, _, body = (RECORDED / name).read_bytes().partition(b"\n\n")
    return body, head.decode().removeprefix("Content-Type: ")


def test_a_change_is_alone_in_its_change_set_and_queries_follow() -> None:
    raw = encoded(
        [Change("A_SalesOrder", {"a": "é"}), Change("A_SalesOrder", {"b": 1}), Query("A_SalesOrder?$top=1")], "b"
    )
    parts = raw.split(b"--b\r\n")[1:]
    assert [part.count(b"POST A_SalesOrder HTTP/1.1") for part in parts] == [1, 1, 0]
    assert [part.startswith(b"Content-Type: multipart/mixed; boundary=change_") for part in parts] == [
        True,
        True,
        False,
    ]
    assert b"GET A_SalesOrder?$top=1 HTTP/1.1\r\n" in parts[2]
    assert raw.endswith(b"--b--\r\n")
    body = parts[0].partition(b"Content-Length: ")[2]
    length, _, rest = body.partition(b"\r\n\r\n")
    assert json.loads(rest[: int(length)]) == {"a": "é"}


@pytest.mark.parametrize("name", ["cap.txt", "mock-sap.txt"])
def test_a_refused_order_between_two_good_ones_is_answered_in_its_turn(name: str) -> None:
    body, kind = answers(name)
    parts = decoded(body, kind, 4)
    assert [part.status for part in parts] == [201, 400, 201, 200]
    told = [json.loads(part.body) for part in parts]
    assert told[0]["d"]["SalesOrder"] < told[2]["d"]["SalesOrder"]
    assert "value" in told[1]["error"]["message"]
    assert [row["SalesOrder"] for row in told[3]["d"]["results"]] == [told[n]["d"]["SalesOrder"] for n in (0, 2)]
    assert all("content-type" in part.headers for part in parts)


@pytest.mark.parametrize("name", ["cap.txt", "mock-sap.txt"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_an_answer_that_broke_off_says_nothing(name: str, share: float) -> None:
    body, kind = answers(name)
    with pytest.raises(Unfit) as raised:
        decoded(body[: int(len(body) * share)], kind, 4)
    assert raised.value.met is Met.TRUNCATED


@pytest.mark.parametrize(
    ("body", "kind", "asked", "met"),
    [
        (SIMPLE, "text/html", 1, Met.WRONG_TYPE),
        (SIMPLE, "multipart/mixed", 1, Met.WRONG_TYPE),
        (SIMPLE, "multipart/mixed; boundary=c", 1, Met.TRUNCATED),
        (b"", "multipart/mixed; boundary=b", 1, Met.TRUNCATED),
        (SIMPLE, "multipart/mixed; boundary=b", 0, Met.UNPARSABLE),
        (SIMPLE.replace(b"HTTP/1.1 200", b"HTTP/1.1 2000"), "multipart/mixed; boundary=b", 1, Met.UNPARSABLE),
        (b"--b\r\n" + b"x" * 9000 + b"\r\n--b--", "multipart/mixed; boundary=b", 1, Met.UNPARSABLE),
    ],
)
def test_what_is_no_answer_is_unfit(body: bytes, kind: str, asked: int, met: Met) -> None:
    with pytest.raises(Unfit) as raised:
        decoded(body, kind, asked)
    assert raised.value.met is met


def test_answers_may_be_fewer_than_operations() -> None:
    parts = decoded(SIMPLE, 'multipart/mixed; boundary="b"', 3)
    assert [(part.status, part.body) for part in parts] == [(200, b"{}")]
