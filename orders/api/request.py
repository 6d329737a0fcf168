"""What a request says about itself, read once from its raw headers, and its body within bounds.

The request id is the front end's own where it sends a sane one, else it is made here; it goes into the answer, the
logs, the journal, the dispatch and the call to the ERP, so that one word finds them all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from config.telemetry.logs import REQUEST, SANE
from orders.api.load_shedding import InHand
from orders.errors import Fault, Malformed, TooLarge

Between = Callable[[bytes, int], Awaitable[None]]  # a piece of a body, the bytes that there are so far

BODY_LIMIT: Final = 1024 * 1024  # bytes of an order; 2,000 lines are about 100 KiB

HEAD: Final = "relais.head"  # of the scope, once it was read
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class RequestHead(NamedTuple):
    """The headers that matter; `length` in bytes, None when it is not told."""

    authorization: str | None
    request_id: str
    key: str | None
    length: int | None


def read_headers(scope: Scope) -> RequestHead:
    """What the headers say. A request id that could be anything but one is replaced."""
    if (known := scope.get(HEAD)) is not None:
        return known  # type: ignore[no-any-return]
    authorization = request_id = key = length = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value.decode("latin-1")
        elif name == b"x-request-id":
            request_id = value.decode("latin-1")
        elif name == b"idempotency-key":
            key = value.decode("latin-1")
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    if request_id is None or not SANE.fullmatch(request_id):
        request_id = token_hex(12)
    REQUEST.set(request_id)
    found = scope[HEAD] = RequestHead(authorization, request_id, key, length)
    return found


def address_of(scope: Scope) -> str:
    """Where a request comes from: whose it is as long as no client is known."""
    return str((scope["client"] or ("nobody",))[0])


def idempotency_key(asked: RequestHead) -> str | None:
    """The client's own key, without the quotation marks that the IETF's draft gives it. Raises Malformed.

    draft-ietf-httpapi-idempotency-key-header: a String of RFC 8941; many clients send a bare token.
    """
    if asked.key is None:
        return None
    key = asked.key.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise Malformed([Fault("Idempotency-Key", None, "must be 1 to 255 visible ASCII characters")])
    return key


async def read_body(
    receive: Receive, hand: InHand, between: Between, length: int | None = None, limit: int = BODY_LIMIT
) -> bytes:
    """The whole body, held in `hand` as it comes; `between` is awaited after each piece but the last.

    Raises TooLarge as soon as it is, Busy, ClientDisconnect and whatever `between` raises.
    """
    if length is not None and length > limit:
        raise TooLarge(f"at most {limit} bytes are taken")
    chunks, size = [], 0
    while (message := await receive())["type"] == "http.request":
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"at most {limit} bytes are taken")
        hand.hold(len(chunk))
        if not message.get("more_body"):
            return chunk if len(chunks) == 1 else b"".join(chunks)
        await between(chunk, size)
    raise ClientDisconnect
