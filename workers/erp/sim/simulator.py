"""The simulator as a whole: the ERP's port, the control port beside it, and the process that serves both.

GET  /_dial    the knobs (`Dial`); PUT sets all of them (`{}` is a fit ERP), PATCH those that are named
GET  /_stats   {"effects", "orders", "repeats", "answers": {"201": …, "died": …, "none": …}, "listening"}
GET  /_orders  {"ids": […]}: one for each effect, in turn
POST /_forget  {"since": "2024-10-19T12:00:00Z"} or {"last": 0.1}: lose these effects; answers {"ids": […]}
POST /_alter   {"id": …, "reference", "digest" or "lines": …}: falsify an effect
POST /_plant   {} or {"id": …}: an effect of an order that nobody sent; answers {"id": …}

The ERP's port answers them too, while it is open.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self
from uuid import UUID, uuid4

import uvloop
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from config.addresses import url_of
from workers.erp.sim.book import Book, planted_effect
from workers.erp.sim.conduct import Conduct
from workers.erp.sim.dial import Dial
from workers.erp.sim.reply import Reply, as_json
from workers.erp.sim.server import Port
from workers.erp.sim.telling import Signer

CONTROL_HOST = "127.0.0.1"


class Forget(BaseModel):
    """What to lose: everything since a moment, or the last share of it. Exactly one of them."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime | None = None
    last: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.since is None) == (self.last is None):
            raise ValueError("either since or last")
        return self


class Alter(BaseModel):
    """What to put in the place of what an effect says."""

    model_config = ConfigDict(extra="forbid")

    id: UUID
    reference: str | None = None
    digest: str | None = None
    lines: list[dict[str, Any]] | None = None


class Plant(BaseModel):
    """An order that came in by another way."""

    model_config = ConfigDict(extra="forbid")

    id: UUID = Field(default_factory=uuid4)


class Simulator:
    """A running simulator; `async with` opens and closes it."""

    def __init__(
        self, host: str, port: int, file: Path, dial: Dial, control_port: int = 0, signer: Signer | None = None
    ) -> None:
        """Take both addresses and the file; port 0 is any free one. `signer` signs receipts. Raises OSError."""
        self.conduct = Conduct(Book(file), dial, signer)
        self._erp = Port(host, port, self._answer)
        self._control = Port(CONTROL_HOST, control_port, self._command)

    @property
    def url(self) -> str:
        """Where orders go."""
        return url_of(self._erp.host, self._erp.number)

    @property
    def control_url(self) -> str:
        """Where the dial is, whatever it says."""
        return url_of(self._control.host, self._control.number)

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._control.open()
        await self._apply()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and let go of the file."""
        await self._erp.close()
        await self._control.close()
        self.conduct.book.close()

    async def turn(self, dial: Dial) -> None:
        """Set every knob; on return the port is open or shut accordingly."""
        self.conduct.dial = dial
        await self._apply()

    async def _apply(self) -> None:
        await (self._erp.shut() if self.conduct.dial.down else self._erp.open())

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply | Awaitable[Reply] | None:
        if path.startswith("/_"):
            return self._command(method, path, headers, body)
        return self.conduct.answer(method, path, headers, body)

    async def _command(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        try:
            return await self._obey(method, path, body)
        except (ValueError, TypeError, KeyError) as error:
            return as_json(422, {"error": str(error)})

    async def _obey(self, method: str, path: str, body: bytes) -> Reply:
        book, dial = self.conduct.book, self.conduct.dial
        match method, path:
            case "GET", "/_dial":
                pass
            case "PUT", "/_dial":
                await self.turn(Dial.model_validate_json(body))
            case "PATCH", "/_dial":
                await self.turn(Dial.model_validate(dial.model_dump(mode="json") | json.loads(body)))
            case "GET", "/_stats":
                return as_json(200, self._stats())
            case "GET", "/_orders":
                return as_json(200, {"ids": book.ids})
            case "POST", "/_forget" | "/_alter" | "/_plant":
                return as_json(200, self._harm(path, body))
            case _:
                return as_json(404, {"error": "no such command"})
        return as_json(200, self.conduct.dial.model_dump(mode="json"))

    def _harm(self, path: str, body: bytes) -> object:
        """What an intrusion does to the book, or the restore after it. Raises KeyError for an order it has not."""
        book = self.conduct.book
        if path == "/_forget":
            wanted = Forget.model_validate_json(body)
            return {"ids": book.forget(since=wanted.since, last=wanted.last or 0.0)}
        if path == "/_alter":
            falsified = Alter.model_validate_json(body).model_dump(mode="json", exclude_none=True)
            return book.alter(falsified["id"], falsified)
        planted = planted_effect(Plant.model_validate_json(body).id)
        book.add(planted)
        return planted

    def _stats(self) -> dict[str, object]:
        book = self.conduct.book
        return {
            "effects": len(book.ids),
            "orders": len(set(book.ids)),
            "repeats": book.repeats,
            "answers": dict(self.conduct.answers),
            "listening": self._erp.is_open,
            "at": datetime.now(UTC).isoformat(),
        }


def run_sim(host: str, port: int, file: Path, dial: Dial, control_port: int = 0, signer: Signer | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when an address is taken or another simulator has the file.

    When it listens it prints one line of JSON: `{"erp": URL, "control": URL, "file": PATH}`.
    """
    uvloop.run(_serve(Simulator(host, port, file, dial, control_port, signer), file))


async def _serve(running: Simulator, file: Path) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with running as simulator:
        places = {"erp": simulator.url, "control": simulator.control_url, "file": str(file)}
        print(json.dumps(places), flush=True)
        await stopped.wait()
