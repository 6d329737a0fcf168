"""Whether a message in Redis is one of ours, told from its bytes alone, before Celery or kombu see it.

Both believe what they are sent: a header that is null, a body that is no base64 or too deep, or a compression ends
the connection of the worker that takes it, or fills its memory. So a message is taken only when every part of it that
they act on is as `workers.queue.publisher` makes it.
"""

from __future__ import annotations

import base64
from typing import Any, Final

from kombu.utils.json import loads

from workers.queue.names import CANARY, DELIVER, POLL, TELL

MOST_BYTES: Final = 256 * 1024  # of a message; 200 ids with their requests and traces are a quarter of it
TASKS: Final = (DELIVER, POLL, TELL, CANARY)

LEAST_LIMIT: Final = 1.0  # seconds

# What Celery would obey, and nothing of ours asks for: to wait, to be forgotten, to be another task, to decompress.
UNUSED: Final = ("eta", "expires", "shadow", "group", "group_index", "parent_id", "stamped_headers", "compression")
EMBEDDED: Final = ("callbacks", "errbacks", "chain", "chord")
TEXTS: Final = ("id", "task", "argsrepr", "kwargsrepr", "origin")


def read(raw: bytes) -> tuple[str | None, str | None, str | None]:
    """The task of a message, what it is about in Celery's words, and why no worker takes it, if so."""
    if len(raw) > MOST_BYTES:
        return None, None, f"it is larger than {MOST_BYTES} bytes"
    try:
        message = loads(raw)
        headers, properties = message["headers"], message["properties"]
        task, about = str(headers["task"]), str(headers.get("argsrepr", ""))[:200]
        fault = _fault(message, headers, properties)
    except Exception as error:  # whatever it is made of: kombu's decoders raise anything, and recursion ends somewhere
        return None, None, f"no message of Celery's: {type(error).__name__}"
    return task, about, fault


def _fault(message: dict[str, Any], headers: dict[str, Any], properties: dict[str, Any]) -> str | None:
    if message.get("content-type") != "application/json" or message.get("content-encoding") != "utf-8":
        return "its content type is not JSON in UTF-8"
    if headers["task"] not in TASKS:
        return "no task of ours"
    if not headers.get("id") or not properties.get("delivery_tag") or "delivery_info" not in properties:
        return "it has no id or no delivery tag"
    if not _plain(headers, properties):
        return "it asks for what no message of ours does"
    return _fault_of_body(message["body"], properties)


def _plain(headers: dict[str, Any], properties: dict[str, Any]) -> bool:
    told, root = properties["delivery_info"], headers.get("root_id")
    return (
        all(isinstance(headers.get(name), str) for name in TEXTS)
        and not any(headers.get(name) for name in UNUSED)
        and headers.get("retries") == 0
        and _limit(headers.get("timelimit"))
        and (root is None or isinstance(root, str))
        and isinstance(properties["delivery_tag"], str)
        and isinstance(told, dict)
        and not any(isinstance(value, dict | list) for value in told.values())
    )


def _limit(told: object) -> bool:
    """No limit in a message may end a process that has others' orders in hand."""
    match told:
        case None | [None, None]:
            return True
        case [float() | int() as hard, None]:
            return hard >= LEAST_LIMIT
    return False


def _fault_of_body(body: object, properties: dict[str, Any]) -> str | None:
    if not isinstance(body, str) or properties.get("body_encoding") != "base64":
        return "its body is no text in base64"
    match loads(base64.b64decode(body, validate=True)):
        case [list(), {**named}, {**embedded}] if not named and not any(embedded.get(each) for each in EMBEDDED):
            return None
    return "its body is no task's arguments"
