"""Processes with a wall clock of their own that can be set, by libfaketime; the monotonic clock goes on as it does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from config.embedded.postgres import Postgres
from config.embedded.process import Program
from tests.machines.tools import faketime


class Clock:
    """A clock of whatever has `env` in its environment: it reads the clock's file again within a second."""

    def __init__(self, directory: Path, name: str = "clock") -> None:
        """Right, until it is set. The directory is to be there, and is opened to PostgreSQL's own user."""
        self._library = directory / "libfaketime.so.1"
        if not self._library.exists():
            shutil.copy(faketime(), self._library)
        self._said = directory / name
        self.step(0)
        for path in (directory, self._library, self._said):
            path.chmod(0o755)
        self.env = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._said),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """Set it to so much from the true time."""
        self._said.write_text(f"{seconds:+d}")

    def stop(self) -> None:
        """Let it stand still, at the true time."""
        self._said.write_text(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")


class SteppedPostgres(Postgres):
    """A PostgreSQL of a test's own whose clock is `clock`. The data directory is to be there."""

    def __init__(self, data_dir: Path, port: int, settings: dict[str, str]) -> None:
        super().__init__(data_dir, port, settings)
        self.clock = Clock(data_dir)

    def program(self) -> Program:
        """PostgreSQL's, with the library before any other."""
        program = super().program()
        return replace(program, env={**(program.env or {}), **self.clock.env})
