"""The connections between a front end and the intake: one order, or a few hundred at once.

A connection that cannot be had, breaks or stays silent means that the intake is away, and nothing is known of the
orders that have no answer yet: `orders.client.answers` says what the answers mean. Of an answer that never ends no
more is read than the intake's could be.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import aiohttp
from yarl import URL

from orders.client.answers import Away, Kept, Outcome, answer_of, for_all, kept_by, legible, refusal
from orders.errors import RelaisError

log = logging.getLogger("relais.client")

CONNECT: Final = 3.0  # s to get a connection
BATCH_SILENCE: Final = 30.0  # s without a further answer to a batch
KEEP_ALIVE: Final = 4.0  # s; the intake closes an idle connection after 5
MOST_ANSWER: Final = 1024**2  # bytes of an answer to an order, or to a line of a batch

Heard = Callable[[list[tuple[int, Outcome]]], Awaitable[None]]


class IntakeTransport:
    """A pool of connections to one intake."""

    def __init__(self, url: str, key: str, timeout: float) -> None:
        """`timeout` is for one answer to one order, seconds."""
        self.url = url
        self._one = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT)
        self._many = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=BATCH_SILENCE)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            headers={"Authorization": f"Bearer {key.strip()}", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, body: bytes) -> Kept:
        """Hand over one order. Raises Away, and Malformed, Conflict, Unauthorised or Forbidden if it is refused."""
        headers = {"Content-Type": "application/json"}
        with _away():
            async with self._session.post(
                f"{self.url}/orders", data=body, headers=headers, timeout=self._one, allow_redirects=False
            ) as answer:
                said = await _read(answer)
                with legible():
                    if answer.status in (200, 202):
                        return kept_by(json.loads(said))
                    raise refusal(answer.status, answer.headers, said)

    async def batch(self, bodies: Sequence[bytes], heard: Heard) -> Away | None:
        """Hand over orders; `heard` is told (index, outcome) as the answers come. Returns why some have none yet.

        Raises Away when the answers end early, and Unauthorised or Forbidden when the key is refused.
        """
        headers, body = {"Content-Type": "application/x-ndjson"}, b"\n".join((*bodies, b""))
        unanswered, rest, later = set(range(len(bodies))), b"", None
        with _away():
            async with self._session.post(
                f"{self.url}/orders/batch", data=body, headers=headers, timeout=self._many, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    said = await _read(answer)
                    with legible():
                        raise for_all(answer.status, refusal(answer.status, answer.headers, said))
                async for chunk in answer.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n")
                    with legible():
                        if len(rest) > MOST_ANSWER:
                            raise ValueError("a line without an end")
                        answers = [answer_of(line, len(bodies)) for line in whole if line.strip()]
                    unanswered.difference_update(index for index, _ in answers)
                    later = later or next((each for _, each in answers if isinstance(each, Away)), None)
                    await heard([(index, each) for index, each in answers if not isinstance(each, Away)])
        if unanswered:
            raise Away("the answers ended before the last order", suspect=True)
        return later


def base_of(url: str) -> str:
    """The intake's URL without a slash at its end. Raises ValueError for what is no URL."""
    found = URL(url.rstrip("/"))
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError(f"{url} is no URL such as http://127.0.0.1:8470")
    return str(found)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    said = b""
    async for chunk in answer.content.iter_any():
        said += chunk
        if len(said) > MOST_ANSWER:
            raise Away("its answer is not that of the intake of Relais", suspect=True)
    return said


@contextmanager
def _away() -> Iterator[None]:
    """Inside, whatever goes wrong between here and the intake becomes Away."""
    try:
        yield
    except (Away, RelaisError):
        raise
    except TimeoutError as error:
        raise Away("it does not answer", suspect=not isinstance(error, aiohttp.ConnectionTimeoutError)) from None
    except aiohttp.ClientConnectorError as error:
        raise Away(f"no connection to {error.host}:{error.port}: {_why(error)}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Away(f"the connection broke ({type(error).__name__})", suspect=True) from error
    except Exception as error:
        log.exception("unforeseen failure of a call")
        raise Away(f"something that was not foreseen: {type(error).__name__}", suspect=True) from error


def _why(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS that can be trusted"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else "no such host"
