"""POST /orders/batch: NDJSON in, NDJSON out, line by line, at once and in bounded memory whatever its size.

Reading, journalling and answering overlap: what one chunk of the request brings is one group. One bad line costs no
good one. Who hangs up loses nothing that was answered, and may send everything again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from orders.access.clients import Scope as Opens
from orders.access.key_cache import Caller
from orders.api.answer_buffer import AnswerBuffer
from orders.api.load_shedding import wait
from orders.api.request import BODY_LIMIT, RequestHead, address_of, read_headers
from orders.api.responses import RETRY_AFTER, answer_problem, detail_of, shown
from orders.api.state import ApiState
from orders.errors import Conflict, Fault, Forbidden, JournalDown, Malformed, RelaisError
from orders.intake.entries import Accepted, Entry, entry
from orders.model import parse

log = logging.getLogger("relais.api")

AHEAD: Final = 4  # groups that are on their way into the journal while the next is read
IN_HAND: Final = (AHEAD + 2) * 64 * 1024  # bytes; a chunk of the request is 64 KiB where no client hurries
LINES_AT_ONCE: Final = 8  # lines parsed before others get their turn, while others are there
LINES_ALONE: Final = 128  # a few milliseconds
PIECE: Final = 16 * 1024  # bytes that are split into lines at once
MOST_LINES: Final = 512  # of a group; a piece may hold 8,000 that are none
NDJSON: Final = b"application/x-ndjson"

Line = tuple[int, bytes | None]  # number from 1; None is longer than an order can be
Said = bytes  # the rest of an answer, behind the line's number


class _Group(NamedTuple):
    """The lines of one chunk: what was said of each so far, or None for those that the journal is to answer for."""

    numbers: list[int]
    said: list[Said | None]
    placing: asyncio.Task[list[Accepted | RelaisError]]


async def post_batch(api: ApiState, scope: Scope, receive: Receive, send: Send) -> None:
    """Take every order of the body, one a line, and answer each by its number while the rest is still coming."""
    asked, client = read_headers(scope), address_of(scope)
    try:
        caller = await api.caller(asked)
        client = caller.name
        caller.need(Opens.WRITE)
        with api.shedder.enter(caller.name) as hand:
            hand.hold(IN_HAND)
            await _take_all(api, caller, asked, receive, send)
    except ClientDisconnect:
        return
    except RelaisError as error:
        await api.rounds.refuse(error, client)
        api.metrics.answered("/orders/batch", await answer_problem(send, error, asked.request_id))
    else:
        api.metrics.answered("/orders/batch", 200)


async def _take_all(api: ApiState, caller: Caller, asked: RequestHead, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", NDJSON), (b"x-request-id", asked.request_id.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    groups: asyncio.Queue[_Group | None] = asyncio.Queue(AHEAD)
    with AnswerBuffer(api.waiting_answers, caller.name) as outbox:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_answer(api, groups, outbox))
            tasks.create_task(_send(outbox, send))
            async for lines in _lines(receive):
                await outbox.room()
                if api.rate is not None:
                    await wait(api.rate, caller.name, len(lines), caller.rate, caller.burst)
                await groups.put(await _take(api, caller, asked, lines))
            await groups.put(None)


async def _take(api: ApiState, caller: Caller, asked: RequestHead, lines: list[Line]) -> _Group:
    """Parse a group, a few lines a turn, and set it on its way."""
    said: list[Said | None] = []
    entries: list[Entry] = []
    start = 0
    while start < len(lines):
        async with api.rounds.piece(caller.name):
            piece = lines[start : start + (LINES_AT_ONCE if api.rounds.crowd.many else LINES_ALONE)]
            for _, raw in piece:
                try:
                    entries.append(_read(api, caller, asked, raw))
                    said.append(None)
                except (Malformed, Forbidden) as error:
                    api.metrics.placed(error)
                    said.append(_refused(error))
        start += len(piece)
    placing = asyncio.ensure_future(_place(api, caller.name, entries))
    return _Group([number for number, _ in lines], said, placing)


def _read(api: ApiState, caller: Caller, asked: RequestHead, raw: bytes | None) -> Entry:
    if raw is None:
        raise Malformed([Fault("body", None, f"longer than {BODY_LIMIT} bytes")])
    order = parse(raw)
    caller.need_pharmacy(order.pharmacy)
    return entry(order, caller.name, api.intake.route(order), request_id=asked.request_id)


async def _place(api: ApiState, client: str, entries: list[Entry]) -> list[Accepted | RelaisError]:
    """What came of the entries; whatever went wrong, nobody's batch ends there."""
    if not entries:
        return []
    try:
        async with api.rounds.groups.of(client):
            return await api.intake.accept_all(entries)
    except RelaisError as error:
        return [error] * len(entries)
    except Exception:
        log.exception("a group of a batch failed")
        return [JournalDown("the order could not be taken")] * len(entries)


async def _answer(api: ApiState, groups: asyncio.Queue[_Group | None], outbox: AnswerBuffer) -> None:
    """Put the answers of each group into the outbox, in the order of the lines."""
    while (group := await groups.get()) is not None:
        answers = await group.placing
        for each in answers:
            api.metrics.placed(each)
        placed = iter(answers)
        told = [_line(n, said or _told(next(placed))) for n, said in zip(group.numbers, group.said, strict=True)]
        outbox.put(b"".join(told))
    outbox.end()


async def _send(outbox: AnswerBuffer, send: Send) -> None:
    while chunk := await outbox.take():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _line(number: int, said: Said) -> bytes:
    return b'{"line":%d,%b\n' % (number, said)


def _told(answer: Accepted | RelaisError) -> Said:
    if isinstance(answer, Accepted):
        status = b"repeated" if answer.repeated else b"accepted"
        return b'"status":"%b","id":"%b","kept":"%b"}' % (status, str(answer.id).encode(), answer.kept.encode())
    return _refused(answer)


def _refused(error: RelaisError) -> Said:
    return to_json(_refusal(error))[1:]


def _refusal(error: RelaisError) -> dict[str, Any]:
    if isinstance(error, Malformed):
        return {"status": "malformed", "detail": detail_of(error), "faults": shown(error.faults)}
    if isinstance(error, Conflict):
        return {"status": "conflict", "first": error.first, "detail": str(error)}
    if isinstance(error, Forbidden):
        return {"status": "forbidden", "detail": str(error)}
    return {"status": "unavailable", "detail": str(error), "retry_after": RETRY_AFTER}


async def _pieces(receive: Receive) -> AsyncIterator[tuple[bytes, bool, bool]]:
    """The body, so many bytes at once: whether its chunk is over, and whether more is to come; no end where the client
    hung up.
    """
    more = True
    while more and (message := await receive())["type"] == "http.request":
        body, more = message.get("body", b""), message.get("more_body", False)
        for end in range(PIECE, len(body), PIECE):
            yield body[end - PIECE : end], False, True
        yield body[(max(len(body), 1) - 1) // PIECE * PIECE :], True, more


async def _lines(receive: Receive) -> AsyncIterator[list[Line]]:
    """The lines that each chunk completes, without the blank ones; a line that is too long is not kept."""
    number, rest, dropping, found = 0, bytearray(), False, list[Line]()
    async for piece, over, more in _pieces(receive):
        first, *later = piece.split(b"\n")
        rest += first
        whole: list[bytes] = []
        if later or not more:
            whole = [bytes(rest), *later]
            rest = bytearray(whole.pop() if later and more else b"")
        if not more and not whole[-1] and not dropping:
            whole.pop()
        for raw in whole:
            number += 1
            if dropping or len(raw) > BODY_LIMIT:
                found.append((number, None))
            elif raw.strip():
                found.append((number, raw))
            dropping = False
            if len(found) == MOST_LINES:
                yield found
                found = []
        if len(rest) > BODY_LIMIT:
            dropping, rest = True, bytearray()
        if found and over:
            yield found
            found = []
