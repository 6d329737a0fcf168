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
from orders.api.request import BODY_LIMIT, RequestHead, read_headers
from orders.api.responses import RETRY_AFTER, answer_problem, detail_of, shown
from orders.api.state import ApiState
from orders.errors import Conflict, Fault, Forbidden, JournalDown, Malformed, RelaisError
from orders.intake.entries import Accepted, Entry, entry
from orders.model import parse

log = logging.getLogger("relais.api")

AHEAD: Final = 4  # groups that are on their way into the journal while the next is read
IN_HAND: Final = (AHEAD + 2) * 64 * 1024  # bytes; a chunk of the request is at most 64 KiB
LINES_AT_ONCE: Final = 64  # lines parsed before others get their turn
NDJSON: Final = b"application/x-ndjson"

Line = tuple[int, bytes | None]  # number from 1; None is longer than an order can be


class _Group(NamedTuple):
    """The lines of one chunk: what was said of each so far, or None for those that the journal is to answer for."""

    numbers: list[int]
    said: list[dict[str, Any] | None]
    placing: asyncio.Task[list[Accepted | RelaisError]]


async def post_batch(api: ApiState, scope: Scope, receive: Receive, send: Send) -> None:
    """Take every order of the body, one a line, and answer each by its number while the rest is still coming."""
    asked = read_headers(scope)
    try:
        caller = await api.caller(asked)
        caller.need(Opens.WRITE)
        with api.shedder.enter() as hand:
            hand.hold(IN_HAND)
            await _take_all(api, caller, asked, receive, send)
    except ClientDisconnect:
        return
    except RelaisError as error:
        api.metrics.answered("/orders/batch", await answer_problem(send, error, asked.request_id))
    else:
        api.metrics.answered("/orders/batch", 200)


async def _take_all(api: ApiState, caller: Caller, asked: RequestHead, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", NDJSON), (b"x-request-id", asked.request_id.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    groups: asyncio.Queue[_Group | None] = asyncio.Queue(AHEAD)
    with AnswerBuffer() as outbox:
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
    """Parse a group and set it on its way."""
    said: list[dict[str, Any] | None] = []
    entries: list[Entry] = []
    for turn, (_, raw) in enumerate(lines, 1):
        try:
            entries.append(_read(api, caller, asked, raw))
            said.append(None)
        except (Malformed, Forbidden) as error:
            api.metrics.placed(error)
            said.append(_refused(error))
        if turn % LINES_AT_ONCE == 0:
            await asyncio.sleep(0)
    placing = asyncio.ensure_future(_place(api, entries, asked.request_id))
    return _Group([number for number, _ in lines], said, placing)


def _read(api: ApiState, caller: Caller, asked: RequestHead, raw: bytes | None) -> Entry:
    if raw is None:
        raise Malformed([Fault("body", None, f"longer than {BODY_LIMIT} bytes")])
    order = parse(raw)
    caller.need_pharmacy(order.pharmacy)
    return entry(order, caller.name, api.intake.route(order), request_id=asked.request_id)


async def _place(api: ApiState, entries: list[Entry], request_id: str) -> list[Accepted | RelaisError]:
    """What came of the entries; whatever went wrong, nobody's batch ends there."""
    if not entries:
        return []
    try:
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


def _line(number: int, said: dict[str, Any] | bytes) -> bytes:
    rest = said if isinstance(said, bytes) else to_json(said)[1:]
    return b'{"line":%d,%b\n' % (number, rest)


def _told(answer: Accepted | RelaisError) -> dict[str, Any] | bytes:
    if isinstance(answer, Accepted):
        status = b"repeated" if answer.repeated else b"accepted"
        return b'"status":"%b","id":"%b","kept":"%b"}' % (status, str(answer.id).encode(), answer.kept.encode())
    return _refused(answer)


def _refused(error: RelaisError) -> dict[str, Any]:
    if isinstance(error, Malformed):
        return {"status": "malformed", "detail": detail_of(error), "faults": shown(error.faults)}
    if isinstance(error, Conflict):
        return {"status": "conflict", "first": error.first, "detail": str(error)}
    if isinstance(error, Forbidden):
        return {"status": "forbidden", "detail": str(error)}
    return {"status": "unavailable", "detail": str(error), "retry_after": RETRY_AFTER}


async def _lines(receive: Receive) -> AsyncIterator[list[Line]]:
    """The lines that each chunk completes, without the blank ones; a line that is too long is not kept."""
    number, rest, dropping, more = 0, b"", False, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return  # the client hung up; half a line is no line
        more = message.get("more_body", False)
        *whole, rest = (rest + message.get("body", b"")).split(b"\n")
        if not more and (rest or dropping):
            whole.append(rest)
            rest = b""
        found: list[Line] = []
        for raw in whole:
            number += 1
            if dropping or len(raw) > BODY_LIMIT:
                found.append((number, None))
            elif raw.strip():
                found.append((number, raw))
            dropping = False
        if len(rest) > BODY_LIMIT:
            dropping, rest = True, b""
        if found:
            yield found
