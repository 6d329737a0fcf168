"""`relais status --watch` in a real terminal and in a pipe, on a live journal, and while a store is away."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from config.embedded.leash import Leash
from config.embedded.postgres import Postgres
from config.embedded.valkey import Valkey
from config.settings import Settings
from tests.cli import clean_environment, command, environment
from tests.journal import Journal
from tests.waiting import until

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]")
HOME = "\x1b[H"
LOOK = ("status", "--watch", "--every", "0.3")


class Terminal:
    """A process in a terminal of its own, as a person sees it."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.process, self._master, self.text = process, master, ""

    def sees(self, *words: str, timeout: float = 20) -> str:
        """The first screen that shows all of these words."""
        try:
            return until(lambda: self._screen(words), timeout, 0.02, f"{words} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}; seen: {self.text[-1500:]!r}") from None

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal another size; what it showed before is forgotten."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        self.text = ""

    def _screen(self, words: tuple[str, ...]) -> str:
        while select.select([self._master], [], [], 0)[0]:
            try:
                self.text += os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                break
        frames = [ESCAPES.sub("", frame) for frame in self.text.split(HOME)]
        return next((frame for frame in reversed(frames) if all(word in frame for word in words)), "")


@contextmanager
def terminal(env: Mapping[str, str], *arguments: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
    process = subprocess.Popen(
        command(*arguments), stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.fixture
def env(settings: Settings) -> dict[str, str]:
    return clean_environment({**environment(settings), "TERM": "xterm-256color"})


def test_it_is_live_fits_80_columns_and_ends_with_ctrl_c(env: dict[str, str], journal: Journal) -> None:
    journal.accept(3)
    journal.accept(1, priority="urgent")
    journal.sql("INSERT INTO backends (name, \"window\") VALUES ('erp', 50)")
    with terminal(env, *LOOK) as seen:
        screen = seen.sees("urgent", "normal", "no worker is running", "last seal")
        assert max(len(line.rstrip()) for line in screen.splitlines()) <= 80
        for word in ("accepted", "delivered", "failed", "closed", "journal answers", "Redis 0 messages", "spill 0"):
            assert word in screen, screen
        journal.accept(40)
        moved = seen.sees("43", "█")
        assert re.search(r"accepted +[1-9][0-9.]*/s", moved), moved
        journal.sql("UPDATE backends SET paused = true, held_why = '\"stocktaking\"'")
        seen.sees("paused", "stocktaking")
        assert "\x1b[3" in seen.text
        seen.resize(60, 20)
        narrow = seen.sees("stocktaking", "last seal")
        assert max(len(line.rstrip()) for line in narrow.splitlines()) <= 60
        seen.process.send_signal(signal.SIGINT)
        assert until(lambda: seen.process.poll() is not None, 10)
        assert seen.process.returncode == 0


def test_stores_that_are_away_are_named_and_what_was_known_is_kept_with_its_age(
    env: dict[str, str], journal: Journal, postgres: Postgres, valkey: Valkey, leash: Leash
) -> None:
    journal.accept(7)
    with terminal({**env, "NO_COLOR": "1"}, *LOOK) as seen:
        seen.sees("normal", "journal answers")
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", seen.text)
        valkey.stop()
        seen.sees("Redis is out of reach", "0 messages", "ago", "journal answers")
        postgres.stop()
        away = seen.sees("journal is out of reach", "its figures are", "normal")
        assert re.search(r"normal +7 ", away), away
        postgres.start(leash)
        valkey.start(leash)
        back = seen.sees("journal answers", "Redis 0 messages")
        assert "out of reach" not in back


def test_a_pipe_gets_a_line_a_look(env: dict[str, str], journal: Journal) -> None:
    journal.accept(2)
    with subprocess.Popen(command(*LOOK), stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    for line in lines:
        worst = "Nobody takes orders at the intake's address: no order comes in there"
        assert re.match(rf"\d\d:\d\d:\d\dZ  {worst}; [0-9.]+/s accepted, ", line), line
        assert "backlog 2 (erp normal 2)" in line
        assert "\x1b" not in line
