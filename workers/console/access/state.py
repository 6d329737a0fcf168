"""What the room shares: the journal, the sessions, the logins, and who else vouches for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from workers.console.access.login_throttle import Logins
from workers.console.access.oidc import Provider
from workers.console.access.sessions import Sessions


@dataclass(frozen=True, slots=True)
class AccessState:
    """Of one console process."""

    settings: Settings
    engine: AsyncEngine
    sessions: Sessions
    logins: Logins
    provider: Provider | None

    @classmethod
    def open(cls, settings: Settings, engine: AsyncEngine) -> AccessState:
        """Nothing connects yet. Raises MissingSetting."""
        return cls(settings, engine, Sessions(engine, settings), Logins(engine, settings), Provider.of(settings))


def _access(request: Request) -> AccessState:
    state: AccessState = request.app.state.access
    return state


Access = Annotated[AccessState, Depends(_access)]
