"""OData's `$batch`, as multipart/mixed: many operations in one request, each with an answer of its own.

A change is alone in its change set, which is one unit of work: SAP takes or refuses it, whatever becomes of the
others. A query after the changes sees what they did, for operations run in their turn (OData 2.0, "Batch Processing").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import uuid4

from workers.erp.failures import Met, Unfit

MOST_HEAD: Final = 8192  # bytes of a part's headers

_BOUNDARY: Final = re.compile(r'boundary="?([A-Za-z0-9\'()+_,./:=?-]{1,70})"?')
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r\n]")


@dataclass(frozen=True, slots=True)
class Change:
    """Make an entity of a set."""

    entities: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """Read what is under a path, which begins with the name of a set and is encoded."""

    path: str


class Part(NamedTuple):
    """The answer to one operation; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def encoded(operations: Sequence[Change | Query], boundary: str) -> bytes:
    """The body of the request."""
    parts = (_change(each) if isinstance(each, Change) else _query(each) for each in operations)
    return b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts) + b"--%b--\r\n" % boundary.encode()


def decoded(raw: bytes, content_type: str, asked: int) -> list[Part]:
    """The answers, in the turn of their operations: fewer than were `asked` where the ERP went no further. Raises
    Unfit.
    """
    parts = [_part(*_split(each)) for each in _parts(raw, content_type)]
    if len(parts) > asked:
        raise Unfit(Met.UNPARSABLE, f"{len(parts)} answers for {asked} operations")
    return parts


def _change(change: Change) -> bytes:
    body, boundary = json.dumps(change.values).encode(), f"change_{uuid4().hex}".encode()
    request = b"POST %b HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n" % (
        change.entities.encode()
    )
    inner = b"%b%bContent-Length: %d\r\n\r\n%b" % (_HTTP, request, len(body), body)
    head = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n" % boundary
    return head + b"--%b\r\n%b\r\n--%b--\r\n" % (boundary, inner, boundary)


def _query(query: Query) -> bytes:
    return _HTTP + b"GET %b HTTP/1.1\r\nAccept: application/json\r\n\r\n" % query.path.encode()


_HTTP: Final = b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"


def _parts(raw: bytes, content_type: str) -> list[bytes]:
    """What stands between the boundaries. Raises Unfit."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/mixed") or found is None:
        raise Unfit(Met.WRONG_TYPE, content_type[:100])
    _, *parts = (b"\r\n" + raw).split(b"\r\n--" + found[1].encode())
    last = next((n for n, part in enumerate(parts) if part.startswith(b"--")), None)
    if last is None:
        raise Unfit(Met.TRUNCATED, "the last boundary is missing")
    return [part.removeprefix(b"\r\n") for part in parts[:last]]


def _split(part: bytes) -> tuple[Mapping[str, str], bytes]:
    """Headers and body."""
    head, _, body = (b"\r\n" + part).partition(b"\r\n\r\n")
    if len(head) > MOST_HEAD:
        raise Unfit(Met.UNPARSABLE, "the headers of an answer are too long")
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n"))
    return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}, body


def _part(headers: Mapping[str, str], body: bytes) -> Part:
    """One answer: of a query or of a change set that failed, or the only one of a change set."""
    kind = headers.get("content-type", "")
    if kind.lower().startswith("multipart/"):
        inner = _parts(body, kind)
        if len(inner) != 1:
            raise Unfit(Met.UNPARSABLE, f"{len(inner)} answers for a change")
        headers, body = _split(inner[0])
    found = _STATUS.match(body)
    if found is None:
        raise Unfit(Met.UNPARSABLE, "an answer without a status")
    return Part(int(found[1]), *_split(body.partition(b"\r\n")[2]))
