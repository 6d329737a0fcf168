"""What one API process works with, and what was handed to it from outside this room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final, Self

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.access.clients import Scope
from orders.access.key_cache import Caller, KeyCache, bearer_of
from orders.api.connection import Connections
from orders.api.event_hub import MOST_LISTENERS, Listeners
from orders.api.load_shedding import MOST_BYTES, MOST_REQUESTS, ClientLimit, LoadShedder, Places
from orders.api.metrics import Metrics, Now
from orders.api.request import RequestHead
from orders.api.rounds import GIVE_WAY, READERS, Rounds
from orders.errors import Throttled, Unauthorised
from orders.intake.group_commit import Intake
from orders.intake.routing import open_routing
from orders.intake.spill import SpillSigner
from orders.intake.store import Store
from orders.journal import connect
from orders.pharmaml.control import Keys, load_keys

JOURNAL_TIMEOUT: Final = 5.0  # seconds for one statement; a group may be tried twice
CONNECTIONS: Final = 6
MOST_READINGS: Final = 1_000  # that wait for one
MOST_ANSWERS: Final = 256 * 1024 * 1024  # bytes of batches' answers that wait in files for clients to read them


@dataclass(frozen=True, slots=True)
class Parts:
    """What needs Redis, as plain objects, without which there is no spill and no rate limit; how many may listen to
    events at once; and the connections that the process has.
    """

    spill: tuple[Store, SpillSigner] | None = None
    rate: ClientLimit | None = None
    listeners: int = MOST_LISTENERS
    connections: Connections = field(default_factory=Connections)


@dataclass(frozen=True, slots=True)
class ApiState:
    """The journal's engines, the intake on one of them, who may ask and how much, and what is counted."""

    engine: AsyncEngine
    reads: AsyncEngine
    intake: Intake
    keys: KeyCache
    shedder: LoadShedder
    rate: ClientLimit | None
    listeners: Listeners
    pharmaml_keys: Keys
    connections: Connections
    metrics: Metrics
    metrics_token: SecretStr | None
    streams: Places
    waiting_readings: Places = field(default_factory=lambda: Places(MOST_READINGS))
    waiting_answers: Places = field(default_factory=lambda: Places(MOST_ANSWERS))
    rounds: Rounds = field(default_factory=Rounds)

    @classmethod
    def open(cls, settings: Settings, parts: Parts) -> Self:
        """To be called on the event loop that it will serve; nothing connects yet.

        Raises what the routes and the lists that they ask for have to say.
        """
        url = settings.need("database_url")
        engine = connect(url, pool=CONNECTIONS, timeout=JOURNAL_TIMEOUT)
        reads = connect(url, pool=READERS, timeout=JOURNAL_TIMEOUT)
        metrics = Metrics()
        intake = Intake(engine, open_routing(settings), spill=parts.spill, grouped=metrics.group.observe)
        shedder = LoadShedder(MOST_REQUESTS, MOST_BYTES)
        listeners = Listeners(url, bound=parts.listeners)
        keys = load_keys(settings.files.pharmaml_keys) if settings.files.pharmaml_keys else {}
        token = settings.monitoring.metrics_token
        return cls(
            engine=engine,
            reads=reads,
            intake=intake,
            keys=KeyCache(engine),
            shedder=shedder,
            rate=parts.rate,
            listeners=listeners,
            pharmaml_keys=keys,
            connections=parts.connections,
            metrics=metrics,
            metrics_token=token,
            streams=Places(parts.listeners),
        )

    async def close(self) -> None:
        """Let what is in hand be committed, and let go of connections."""
        await self.listeners.close()
        await self.intake.close()
        await self.keys.close()
        if self.rate is not None:
            await self.rate.close()
        await self.reads.dispose()
        await self.engine.dispose()

    async def caller(self, asked: RequestHead, *, basic: bool = False) -> Caller:
        """Who is asking; those who are not known are few in a round. Raises Unauthorised and JournalDown."""
        with suppress(Unauthorised):
            if (caller := self.keys.known(asked.authorization, basic=basic)) is not None:
                return caller
        async with self.rounds.strangers.of("stranger"):
            await asyncio.sleep(0)
            return await self.keys.caller(asked.authorization, basic=basic)

    @asynccontextmanager
    async def reading(self, client: str) -> AsyncIterator[None]:
        """A turn at reading; `client` is a client's name, or the address of who has none. Raises Busy."""
        with self.waiting_readings.hold(client):
            async with self.reading_in_place(client):
                yield

    @asynccontextmanager
    async def reading_in_place(self, client: str) -> AsyncIterator[None]:
        """The same for who has a place of its own already, in which to wait for the turn, as an event stream has."""
        async with self.rounds.readings.of(client):
            await self.rounds.give_way(client, GIVE_WAY)
            yield

    def spend(self, caller: Caller) -> None:
        """One order of the caller's rate. Raises Throttled."""
        if self.rate is not None and (pause := self.rate.spend(caller.name, 1, caller.rate, caller.burst)):
            raise Throttled(pause)

    async def open_metrics(self, asked: RequestHead) -> None:
        """Raise unless they are for who asks: RELAIS_METRICS_TOKEN, which needs no journal, or a key for ops."""
        token = self.metrics_token
        said = bearer_of(asked.authorization or "").encode()
        if token is None or not compare_digest(said, token.get_secret_value().encode()):
            (await self.caller(asked)).need(Scope.OPS)

    def render_metrics(self) -> bytes:
        """The metrics as they stand."""
        return self.metrics.render(
            Now(self.intake.store_switch.mode, self.shedder, self.rate, self.listeners.count, self.connections)
        )
