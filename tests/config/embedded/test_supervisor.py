"""The supervisor: order, restarts with backoff, and no child left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from config.embedded import child as child_module
from config.embedded import ready as ready_module
from config.embedded import supervisor as supervisor_module
from config.embedded.child import Backoff, Child
from config.embedded.leash import Leash
from config.embedded.marks import Mark, find
from config.embedded.process import Program
from config.embedded.ready import ReadyLine, answers
from config.embedded.service import StartFailed
from config.embedded.supervisor import STARTS, Supervisor
from tests.waiting import auntil

CODE = """
import signal, sys, time
def say(word):
    with open(sys.argv[1], "a") as file:
        file.write(f"{word} {sys.argv[2]} {time.monotonic()}\\n")
def stop(*_):
    say("stop")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
say("start")
print("ready", flush=True)
"""
STAYS = CODE + "signal.pause()"
LIFE = 0.3  # s
LINGERS = CODE + f"time.sleep({LIFE}); sys.exit(3)"


class Diary:
    """What the children of a test wrote down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def events(self, word: str) -> list[tuple[str, float]]:
        """Names and times (s) of the events called `word`."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [(line.split()[1], float(line.split()[2])) for line in lines if line.startswith(word)]


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    """An empty diary."""
    return Diary(tmp_path / "diary")


@pytest.fixture
def child(tmp_path: Path, diary: Diary) -> Callable[..., Child]:
    """Makes children that write into the diary."""

    def make(name: str, code: str = STAYS, grace: float = 5.0, patience: float = 10.0) -> Child:
        argv = (sys.executable, "-c", code, str(diary.path), name)
        program = Program(name, argv, tmp_path / f"{name}.log", grace=grace)
        line = ReadyLine(program.log)
        return Child(program, line, line.begin, patience)

    return make


@pytest.fixture
def own_leash() -> Iterator[Leash]:
    """A leash of the test's own."""
    with Leash() as leash:
        yield leash


def test_children_start_in_order_and_stop_in_reverse(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    seen: list[list[str]] = []

    async def scenario() -> None:
        async with Supervisor(own_leash, lambda marks: seen.append([mark.name for mark in marks])) as supervisor:
            for name in ("one", "two", "three"):
                await supervisor.start(child(name))
            assert list(supervisor.pids) == ["one", "two", "three"]
            await supervisor.stop()
            assert supervisor.pids == {}

    asyncio.run(scenario())
    assert [name for name, _ in diary.events("start")] == ["one", "two", "three"]
    assert [name for name, _ in diary.events("stop")] == ["three", "two", "one"]
    assert max(seen, key=len) == ["one", "two", "three"]
    assert seen[-1] == own_leash.marks == []


def test_a_child_that_is_killed_comes_back_and_is_stopped_in_its_place(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=0.05)) as supervisor:
            for name in ("one", "two"):
                await supervisor.start(child(name))
            first = supervisor.pids["one"]
            os.kill(first, signal.SIGKILL)
            await auntil(lambda: len(diary.events("start")) == 3)
            assert supervisor.pids["one"] != first
            assert {mark.pid for mark in own_leash.marks} == set(supervisor.pids.values())

    asyncio.run(scenario())
    assert [name for name, _ in diary.events("stop")] == ["two", "one"]


def test_pauses_double_up_to_the_most(own_leash: Leash, child: Callable[..., Child], diary: Diary) -> None:
    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=0.1, most=0.4), poll=0.01) as supervisor:
            await supervisor.start(child("failing", LINGERS))
            await auntil(lambda: len(diary.events("start")) == 6, timeout=30)

    asyncio.run(scenario())
    times = [at for _, at in diary.events("start")]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for pause, least in zip(pauses, (0.1, 0.2, 0.4, 0.4, 0.4), strict=True):
        assert pause >= least + LIFE


def test_a_child_of_which_much_depends_waits_no_longer_than_it_may(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=60.0, most=60.0)) as supervisor:
            await supervisor.start(replace(child("hasty"), pause=0.05))
            for starts in (2, 3):
                os.kill(supervisor.pids["hasty"], signal.SIGKILL)
                await auntil(lambda starts=starts: len(diary.events("start")) == starts)

    asyncio.run(scenario())


def test_after_a_healthy_while_the_pause_is_short_again(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    async def scenario() -> None:
        backoff = Backoff(first=0.1, most=60.0, healthy_after=0.2)
        async with Supervisor(own_leash, backoff=backoff, poll=0.01) as supervisor:
            await supervisor.start(child("healthy", LINGERS))
            await auntil(lambda: len(diary.events("start")) == 10, timeout=60, what="ten quick restarts")

    asyncio.run(scenario())


def test_a_child_that_ends_before_it_is_ready_is_tried_again_and_then_fails_the_start(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=0.05)) as supervisor:
            await supervisor.start(child("fine"))
            with pytest.raises(StartFailed, match=r"(?s)broken ended with 1 before it was ready; see .*ZeroDivision"):
                await supervisor.start(child("broken", CODE.replace('print("ready", flush=True)', "1 / 0")))

    asyncio.run(scenario())
    assert own_leash.marks == []
    assert [name for name, _ in diary.events("start")] == ["fine", *["broken"] * STARTS]


def test_a_child_that_is_killed_before_it_is_ready_is_started_again(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    """Five kills, while the children after it are ready long since."""
    kills = "\nimport os\nif len(open(sys.argv[1]).read().split(sys.argv[2])) < 7: os.kill(os.getpid(), 9)\n"
    before = CODE.replace('print("ready"', kills + 'print("ready"')

    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=0.05, most=0.1)) as supervisor:
            await supervisor.start(child("killed", before + "signal.pause()"), child("fine"))
            assert {mark.pid for mark in own_leash.marks} == set(supervisor.pids.values())
            assert list(supervisor.pids) == ["killed", "fine"]

    asyncio.run(scenario())
    assert [name for name, _ in diary.events("start")].count("killed") == 6
    assert [name for name, _ in diary.events("stop")] == ["fine", "killed"]


def test_a_child_that_is_never_ready_fails_the_start_and_is_stopped(
    own_leash: Leash, child: Callable[..., Child]
) -> None:
    marks: list[Mark] = []

    async def scenario() -> None:
        async with Supervisor(own_leash, marks.extend) as supervisor:
            silent = child("silent", "import signal; signal.pause()", patience=0.3)
            with pytest.raises(StartFailed, match=r"silent was not ready within 0\.3 s"):
                await supervisor.start(silent)

    asyncio.run(scenario())
    assert marks
    assert not any(find(mark) for mark in marks)


def test_a_spare_takes_the_place_of_a_child_as_often_as_it_dies_and_another_waits_then(
    own_leash: Leash, child: Callable[..., Child], diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "SETTLED", 0.0)

    async def another(than: int) -> int:
        def pids() -> list[int]:
            return [each.pid for each in own_leash.marks if each.name == "one-spare" and each.pid != than]

        return (await auntil(pids, what="one waits"))[0]

    async def scenario() -> None:
        one = child("one")
        argv = (sys.executable, "-c", "import sys; sys.stdin.readline() or sys.exit()\n" + STAYS, *one.program.argv[3:])
        waits = replace(one.program, name="one-spare", argv=argv, waits=True)
        async with Supervisor(own_leash, backoff=Backoff(first=60.0, most=60.0)) as supervisor:
            await supervisor.start(replace(one, spare=waits))
            waiting = await another(than=0)
            for starts in (2, 3, 4):
                os.kill(supervisor.pids["one"], signal.SIGKILL)
                await auntil(lambda starts=starts: len(diary.events("start")) == starts, what="without a pause")
                assert supervisor.pids["one"] == waiting
                assert [each.name for each in own_leash.marks if each.pid == waiting] == ["one"]
                waiting = await another(than=waiting)
            os.kill(waiting, signal.SIGKILL)
            await another(than=waiting)

    asyncio.run(scenario())
    assert (len(diary.events("start")), len(diary.events("stop")), own_leash.marks) == (4, 1, [])


@pytest.mark.parametrize(("ends", "limit"), [(signal.SIGKILL, "KILLS"), (signal.SIGTERM, "STARTS")])
@pytest.mark.parametrize(("soon", "pauses"), [(0.0, [0.0, 0.0, 0.0, 60.0]), (3600.0, [0.0, 0.0, 60.0])])
def test_a_child_that_ends_again_at_once_comes_back_at_once_and_one_that_ends_too_often_does_not(
    own_leash: Leash,
    child: Callable[..., Child],
    diary: Diary,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ends: signal.Signals,
    limit: str,
    soon: float,
    pauses: list[float],
) -> None:
    """Whether its next spare waits already or not; after the third end in a row there is none, and a pause."""
    monkeypatch.setattr(child_module, "SETTLED", 0.0)
    monkeypatch.setattr(child_module, "SOON", soon)
    monkeypatch.setattr(supervisor_module, limit, 3)

    def waits() -> bool:
        return any(each.name == "one-spare" for each in own_leash.marks)

    async def scenario() -> None:
        one = child("one")
        argv = (sys.executable, "-c", "import sys; sys.stdin.readline() or sys.exit()\n" + STAYS, *one.program.argv[3:])
        spare = replace(one.program, name="one-spare", argv=argv, waits=True)
        async with Supervisor(own_leash, backoff=Backoff(first=60.0, most=60.0)) as supervisor:
            await supervisor.start(replace(one, spare=spare))
            await auntil(waits, what="the first waits")
            monkeypatch.setattr(child_module, "SETTLED", 3600.0)
            for starts in range(2, len(pauses) + 1):
                await auntil(lambda: soon or waits(), what="one waits")
                os.kill(supervisor.pids["one"], ends)
                await auntil(lambda starts=starts: len(diary.events("start")) == starts, what="without a pause")
            os.kill(supervisor.pids["one"], ends)
            await auntil(lambda: not own_leash.marks, what="it is gone, and nothing waits")

    asyncio.run(scenario())
    told = [record.__dict__["restart_in"] for record in caplog.records if record.getMessage() == "exited"]
    assert told == pauses


def test_stopping_while_a_child_waits_for_its_restart_starts_nothing(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=30)) as supervisor:
            await supervisor.start(child("one"))
            os.kill(supervisor.pids["one"], signal.SIGKILL)
            await auntil(lambda: not own_leash.marks)

    asyncio.run(scenario())
    assert len(diary.events("start")) == 1


def test_hurry_ends_a_stubborn_child(own_leash: Leash, child: Callable[..., Child]) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"

    async def scenario() -> None:
        async with Supervisor(own_leash) as supervisor:
            await supervisor.start(child("stubborn", stubborn + "while True: signal.pause()", grace=100))
            stopping = asyncio.create_task(supervisor.stop())
            began = time.monotonic()
            supervisor.hurry()
            await stopping
            assert time.monotonic() - began < 20

    asyncio.run(scenario())


def test_a_record_that_cannot_be_written_loses_no_child(own_leash: Leash, child: Callable[..., Child]) -> None:
    def full(marks: list[Mark]) -> None:
        raise OSError("no space left on device")

    async def scenario() -> None:
        async with Supervisor(own_leash, full, Backoff(first=0.05)) as supervisor:
            await supervisor.start(child("one"))
            first = supervisor.pids["one"]
            os.kill(first, signal.SIGKILL)
            await auntil(lambda: supervisor.pids.get("one", first) != first)

    asyncio.run(scenario())


def test_a_restart_that_cannot_be_prepared_is_tried_again(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    tries: list[float] = []
    made = child("one")
    line = made.ready

    def prepare() -> None:
        line.begin()
        tries.append(time.monotonic())
        if len(tries) in (2, 3):
            raise OSError("not now")

    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=0.05)) as supervisor:
            await supervisor.start(Child(made.program, made.ready, prepare))
            os.kill(supervisor.pids["one"], signal.SIGKILL)
            await auntil(lambda: len(diary.events("start")) == 2)

    asyncio.run(scenario())
    assert len(tries) == 4


def test_a_watchdog_that_dies_is_replaced(own_leash: Leash, child: Callable[..., Child]) -> None:
    async def scenario() -> None:
        async with Supervisor(own_leash) as supervisor:
            await supervisor.start(child("one"))
            first = own_leash.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await auntil(lambda: own_leash.pid != first)

    asyncio.run(scenario())


def test_a_ready_line_counts_only_since_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.write_text("ready\n")
    line = ReadyLine(log)
    line.begin()
    assert not asyncio.run(line())
    log.write_text("ready\nw1@host ready.\n")
    assert asyncio.run(line())
    line.begin()
    monkeypatch.setattr(ready_module, "ANYWAY", 0.0)
    assert asyncio.run(line())


def test_ready_over_http_means_a_200() -> None:
    async def scenario() -> None:
        status = b"503 Unavailable"

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ask = answers(f"http://127.0.0.1:{port}/readyz")
        assert not await ask()
        status = b"200 OK"
        assert await ask()
        server.close()
        await server.wait_closed()
        assert not await ask()

    asyncio.run(scenario())


def test_a_child_that_hangs_is_ended_and_comes_back(
    own_leash: Leash, child: Callable[..., Child], diary: Diary
) -> None:
    """The judge is asked anew about each process; what will not heed SIGTERM is killed."""
    judged: list[int] = []

    async def hangs(pid: int) -> None:
        judged.append(pid)
        await auntil(lambda: len(diary.events("start")) == len(judged))
        if len(judged) > 2:
            await asyncio.Event().wait()

    deaf = CODE.replace("SIGTERM, stop", "SIGTERM, signal.SIG_IGN") + "while True: signal.pause()"

    async def scenario() -> None:
        async with Supervisor(own_leash, backoff=Backoff(first=0.05)) as supervisor:
            made = child("one", deaf, grace=0.3)
            await supervisor.start(Child(made.program, made.ready, made.prepare, hangs=hangs))
            await auntil(lambda: len(diary.events("start")) == 3, what="the third is left alone")
            assert supervisor.pids["one"] == judged[2]
            assert {mark.pid for mark in own_leash.marks} == {judged[2]}
            assert await supervisor.stop() == {"one": -signal.SIGKILL}

    asyncio.run(scenario())
    assert len(set(judged)) == 3
    assert len(diary.events("start")) == 3
