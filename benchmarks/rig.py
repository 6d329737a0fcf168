"""The machinery of a run: a temporary directory, PostgreSQL, Valkey and the sink in it, and an end to all of it.

Everything started here is on the product's own leash, so that nothing outlives the run, whatever ends the run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import redis
from sqlalchemy import text

from config.acl import OPS
from config.embedded.files import tail
from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth, end
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.process import Process, Program, module
from config.embedded.ready import answers
from config.embedded.service import Ready, until_ready
from config.embedded.valkey import Valkey
from config.journal_roles import role_of, url_as
from orders.journal import connect
from orders.schema.migrate import migrate

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0  # seconds without progress, after which a measurement is given up


class BenchmarkFailed(Exception):
    """What was measured did not do its work: there are no figures."""


class Rig:
    """PostgreSQL, Valkey and the sink; a context manager that ends all that was started, the last first."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        try:
            self.home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="relais-bench-")))
            self._leash = self._stack.enter_context(Leash())
            self._ports: set[int] = set()
            self.postgres = Postgres(self.home, self.port())
            self.valkey = Valkey(self.home, self.port())
            for service in (self.postgres, self.valkey):
                service.start(self._leash)
                self._stack.callback(service.stop)
            self.sink = Sink(self.port())
            argv = module("benchmarks.sink", str(self.sink.port))
            sink = self._stack.enter_context(self.running("sink", argv, ready=answers(f"{self.sink.url}/health")))
            self.sink_pid = sink.pid
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def port(self) -> int:
        """A free port that nobody else here was given."""
        port = choose(taken=self._ports)
        self._ports.add(port)
        return port

    @contextmanager
    def running(
        self, name: str, argv: tuple[str, ...], env: Mapping[str, str] | None = None, ready: Ready | None = None
    ) -> Iterator[Process]:
        """A program that runs, and is ready, inside the block."""
        process = Process(Program(name, argv, self.home / "logs" / f"{name}.log", self._own(argv, env), grace=20.0))
        self._leash.hold(process.mark)
        try:
            if ready is not None:
                asyncio.run(until_ready(process, ready, PATIENCE))
            yield process
        except BenchmarkFailed as error:
            raise BenchmarkFailed(f"{error}\n{name} said:\n{tail(process.program.log)}") from error
        finally:
            process.end()
            self._leash.drop(process.mark)

    def together(self, argvs: Sequence[tuple[str, ...]], env: Mapping[str, str]) -> list[dict[str, Any]]:
        """Run programs that say `ready`, let them go at the same moment, and return what they print as JSON."""
        with ExitStack() as stack:
            programs = [stack.enter_context(self._talking(argv, env)) for argv in argvs]
            for program in programs:
                _read(program, b"ready")
            for program in programs:
                assert program.stdin is not None
                program.stdin.write(b"go\n")
                program.stdin.flush()
            return [json.loads(_read(program, b"{")) for program in programs]

    @contextmanager
    def _talking(self, argv: tuple[str, ...], env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        pipe = subprocess.PIPE
        program = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=self._own(argv, env), start_new_session=True)
        mark = Mark(argv[-1], program.pid, birth(program.pid))
        self._leash.hold(mark)
        try:
            yield program
        finally:
            if program.poll() is None:
                end(mark, grace=2.0)
            program.communicate()
            self._leash.drop(mark)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A database of its own, dropped afterwards; its URL."""
        name = f"bench_{time.monotonic_ns()}"
        asyncio.run(_execute(self.postgres.url, f"CREATE DATABASE {name}"))
        try:
            yield self.postgres.database_url(name)
        finally:
            asyncio.run(_execute(self.postgres.url, f"DROP DATABASE {name} WITH (FORCE)"))

    @contextmanager
    def journal(self) -> Iterator[str]:
        """The same, migrated; its URL as the owner, while each process that runs comes as the role of its own."""
        passwords = self.postgres.passwords()
        with self.database() as url:
            migrate(url, passwords=passwords)
            yield url
        roles = ", ".join(role_of(url.rpartition("/")[2], process) for process in passwords)
        asyncio.run(_execute(self.postgres.url, f"DROP ROLE {roles}"))

    def _own(self, argv: tuple[str, ...], env: Mapping[str, str] | None) -> dict[str, str]:
        """The environment of this program: a command of Relais has its process's role in the journal."""
        found = _environment(env)
        if "workers.cli" in argv and env is not None and (url := env.get("RELAIS_DATABASE_URL")):
            command, passwords = argv[argv.index("workers.cli") + 1], self.postgres.passwords()
            process = command if command in passwords else OPS
            found["RELAIS_DATABASE_URL"] = url_as(url, process, passwords[process])
        return found

    def flush(self) -> None:
        """Empty Valkey."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()

    @contextmanager
    def valkey_set(self, name: str, value: str) -> Iterator[None]:
        """A setting of Valkey's that is another one inside the block."""
        with redis.Redis.from_url(self.valkey.url, decode_responses=True) as client:
            before = client.config_get(name)[name]
            client.config_set(name, value)
            try:
                yield
            finally:
                client.config_set(name, before)

    def fsync_ms(self, times: int = 50) -> float:
        """How long the disk under the journal takes to sync a page, median."""
        taken = []
        with (self.home / "fsync").open("wb", buffering=0) as file:
            for _ in range(times):
                file.write(bytes(8192))
                began = time.perf_counter()
                os.fsync(file.fileno())
                taken.append(time.perf_counter() - began)
        return statistics.median(taken) * 1e3

    def versions(self) -> dict[str, str]:
        """Of the servers."""
        with redis.Redis.from_url(self.valkey.url) as client:
            info = client.info("server")
        return {
            "postgresql": str(asyncio.run(_execute(self.postgres.url, "SHOW server_version"))),
            "valkey": str(info.get("valkey_version", info["redis_version"])),
        }


class Sink:
    """The sink's control path."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def reset(self) -> None:
        """Forget every order."""
        urllib.request.urlopen(f"{self.url}/_reset", data=b"", timeout=10).close()

    def marks(self, every: int | None = None) -> dict[str, Any]:
        """Posts, orders, first, last, and with `every` the times of every so many orders."""
        query = f"?every={every}" if every else ""
        with urllib.request.urlopen(f"{self.url}/_marks{query}", timeout=10) as answer:
            return dict(json.load(answer))

    def await_orders(self, count: int, *, exactly: bool = False) -> dict[str, Any]:
        """Wait until `count` orders came, and `exactly`: each once; BenchmarkFailed when not, or when they stop."""
        seen, moved = self.marks(), time.monotonic()
        while seen["orders"] < count:
            time.sleep(0.2)
            now = self.marks()
            if now["orders"] > seen["orders"]:
                moved = time.monotonic()
            elif time.monotonic() - moved > PATIENCE:
                raise BenchmarkFailed(f"the sink saw {now['orders']} of {count} orders and then no more")
            seen = now
        if exactly and (seen["orders"], seen["posts"]) != (count, count):
            raise BenchmarkFailed(f"the sink saw {seen['posts']} posts of {seen['orders']} orders, not {count}")
        return seen


class Meter:
    """Processor time that processes (and all they start) use from now on, for each of `orders` orders."""

    def __init__(self, orders: int, **pids: int) -> None:
        self._orders, self._pids = orders, pids
        self._before = {name: cpu(pid) for name, pid in pids.items()}

    def read(self) -> dict[str, float]:
        """Milliseconds an order, by name."""
        return {name: (cpu(pid) - self._before[name]) / self._orders * 1e3 for name, pid in self._pids.items()}


def family(pid: int) -> list[psutil.Process]:
    """A process and all it started."""
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


def memory(pid: int) -> float:
    """Resident memory of a process and all it started, MiB; pages that they share count in each."""
    return sum(_quietly(lambda each=each: each.memory_info().rss) for each in family(pid)) / 2**20


def cpu(pid: int) -> float:
    """Processor time that a process, all it started, and its children that ended have used, seconds."""
    ended = psutil.Process(pid).cpu_times()
    alive = sum(_quietly(lambda each=each: sum(each.cpu_times()[:2])) for each in family(pid))
    return float(alive + ended.children_user + ended.children_system)


def prepare() -> None:
    """Of this process: whatever asks it to stop does so through every `finally`, and no setting of Relais's in a
    developer's shell or `.env` counts."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith(("RELAIS_", "BENCH_"))]:
        del os.environ[name]
    os.environ["RELAIS_CLIENT_RATE"] = "1000000"  # all orders are one client's
    os.chdir("/")  # where no `.env` lies


def _quietly(read: Any) -> float:
    try:
        return float(read())
    except psutil.NoSuchProcess:
        return 0.0


def _read(program: subprocess.Popen[bytes], start: bytes) -> bytes:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line.startswith(start):
        raise BenchmarkFailed(f"{program.args!r} said {line!r}")
    return line


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **(env or {})}


async def _execute(url: str, statement: str) -> Any:
    engine = connect(url, pool=1, timeout=60)
    try:
        async with engine.connect() as connection:
            done = await connection.execute(text(statement))
            return done.scalar() if done.returns_rows else None
    finally:
        await engine.dispose()
