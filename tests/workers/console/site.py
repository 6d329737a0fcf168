"""The console for tests: its application in this process, and browsers that are logged in."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from config.settings import Settings
from tests.machines.roles import OWNER, Logins, logged_in_to
from workers.console.access.people import Role
from workers.console.access.sessions import COOKIE, csrf_of
from workers.console.app import create_app

ORIGIN = "https://console.test"
MAKE = text("INSERT INTO accounts (name, role) VALUES (:name, :role) ON CONFLICT (name) DO UPDATE SET role = :role")


@dataclass
class Browser:
    """Somebody's browser: `get` and `post` of httpx, with the session's cookie; forms bring their token along."""

    client: httpx.AsyncClient
    csrf: str

    async def get(self, path: str, **options: object) -> httpx.Response:
        return await self.client.get(path, **options)  # type: ignore[arg-type]

    async def post(self, path: str, data: dict[str, object] | None = None, **options: object) -> httpx.Response:
        return await self.client.post(path, data={"csrf": self.csrf, **(data or {})}, **options)  # type: ignore[arg-type]


class Site:
    """A console that serves."""

    def __init__(self, app: FastAPI, logins: Logins) -> None:
        self.app, self.logins, self.owner = app, logins, logins[OWNER]

    def stranger(self) -> httpx.AsyncClient:
        """A browser that nobody is logged in with; speaks English."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers={"Accept-Language": "en"})

    async def enter(self, name: str = "jeanne", role: Role = Role.OPERATOR) -> Browser:
        """A browser with a session of that account, which is made when there is none."""
        async with self.owner.connect() as connection:
            await connection.execute(text("SET session_replication_role = replica"))  # as old as the journal: no act
            await connection.execute(MAKE, {"name": name, "role": role})
            await connection.execute(text("RESET session_replication_role"))
        token = await self.app.state.access.sessions.begin(name)
        client = self.stranger()
        client.cookies.set(COOKIE, token)
        return Browser(client, csrf_of(token))


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Site]:
    """The console on these settings, in this process."""
    app = create_app(settings)
    url = settings.need("database_url")
    async with logged_in_to(url) as logins, app.router.lifespan_context(app):
        yield Site(app, logins)


def text_of(answer: httpx.Response) -> str:
    """What a person reads of a page, tags left out."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))
