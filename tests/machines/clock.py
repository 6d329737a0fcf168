"""A PostgreSQL of a test's own whose wall clock can be set; its monotonic clock goes on as it does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from config.embedded.postgres import Postgres
from config.embedded.process import Program
from tests.machines.tools import faketime


class SteppedPostgres(Postgres):
    """Under libfaketime, by which it lives `step` seconds from now. The data directory is to be there."""

    def __init__(self, data_dir: Path, port: int, settings: dict[str, str]) -> None:
        super().__init__(data_dir, port, settings)
        self._library = data_dir / "libfaketime.so.1"  # where PostgreSQL's own user may read it
        shutil.copy(faketime(), self._library)
        self._said = data_dir / "clock"
        self.step(0)
        for path in (data_dir, self._library, self._said):
            path.chmod(0o755)

    def step(self, seconds: int) -> None:
        """Set the clock to so much from the true time; within a second that is so."""
        self._said.write_text(f"{seconds:+d}")

    def program(self) -> Program:
        """PostgreSQL's, with the library before any other."""
        fakes = {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._said),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        program = super().program()
        return replace(program, env={**(program.env or {}), **fakes})
