"""The command line for tests: in this process, where that is enough, and as real processes on a leash."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pydantic import SecretStr
from typer.core import TyperGroup
from typer.main import get_command

from config.embedded.leash import Leash
from config.embedded.process import Process, Program
from config.settings import Settings
from tests.machines.roles import logged_in
from tests.waiting import until
from workers.cli import main
from workers.cli.app import app
from workers.cli.lazy import LazyCommand


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


class CommandLine:
    """`relais` in this process, on the given environment."""

    def __init__(self, capsys: pytest.CaptureFixture[str], env: Mapping[str, str]) -> None:
        self._capsys, self.env = capsys, dict(env)

    def __call__(self, *arguments: str, **env: str) -> Done:
        self._capsys.readouterr()
        environ = clean_environment(logged_in(self.env | env, arguments))
        with (
            mock.patch.object(sys, "argv", ["relais", *arguments]),
            mock.patch.dict(os.environ, environ, clear=True),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        found = self._capsys.readouterr()
        if ended.value.code:
            sys.stderr.write(found.err)  # for whoever reads why a test failed that had not expected it
        return Done(int(ended.value.code or 0), found.out, found.err)


@cache
def whole_command() -> TyperGroup:
    """`relais` with every command imported, as none of its processes has it."""
    root = _loaded(get_command(app))
    assert isinstance(root, TyperGroup)
    return root


def _loaded(command: Any) -> Any:
    found = command.loaded() if isinstance(command, LazyCommand) else command
    if isinstance(found, TyperGroup):
        found.commands = {name: _loaded(each) for name, each in found.commands.items()}
    return found


def environment(settings: Settings) -> dict[str, str]:
    """RELAIS_* for these settings and nothing else of the caller's."""
    env = {}
    for name in settings.given():
        if (value := settings.value(name)) is not None:
            env[f"RELAIS_{name.upper()}"] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return env


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without its RELAIS_* and without a terminal's width, and `env`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
    ours.pop("COLUMNS", None)
    return ours | dict(env)


@contextmanager
def running(
    leash: Leash, name: str, argv: Sequence[str], env: Mapping[str, str], *, ready: str = "ready"
) -> Iterator[tuple[Process, Path]]:
    """A real process, from when its log says `ready`; ended, with what it started, on leaving."""
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(filter(None, (str(root), env.get("PYTHONPATH"))))
    surroundings = clean_environment(logged_in(env, argv[3:])) | {"PYTHONPATH": path}
    with tempfile.TemporaryDirectory(prefix="relais-log-") as directory:
        log = Path(directory) / f"{name}.log"
        process = Process(Program(name, tuple(argv), log, surroundings, grace=15.0))
        leash.hold(process.mark)
        try:
            until(lambda: ready in log.read_text() or process.poll() is not None, 40, what=f"{name} says {ready!r}")
            assert process.poll() is None, log.read_text()
            yield process, log
        finally:
            process.end()
            leash.drop(process.mark)


def command(*arguments: str) -> tuple[str, ...]:
    """The argv of a real `relais` process."""
    return (sys.executable, "-m", "workers.cli", *arguments)


def asked(url: str, auth: str | None = None, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=data, headers=headers)
    if auth is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(auth.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


RECORD = """
import atexit, sys
from workers.cli import main
atexit.register(lambda: sys.stderr.write("\\nloaded:" + ",".join(sys.modules)))
main()
"""


def modules_after(env: Mapping[str, str], *arguments: str) -> set[str]:
    """The modules that a `relais` of its own has loaded when it exits, whatever its exit code."""
    done = subprocess.run(
        [sys.executable, "-c", RECORD, *arguments], check=False, env=env, capture_output=True, text=True, timeout=60
    )
    return {*done.stderr.rpartition("loaded:")[2].split(",")}


def ours(modules: Iterable[str]) -> set[str]:
    """Those that are Relais's own."""
    return {name for name in modules if name.partition(".")[0] in ("config", "orders", "workers")}
