"""The spool: safe when `append` returns, in order, bounded, shared by processes, and never silent about damage."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orders.client.spool import Spool, Spooled
from orders.client.spool_file import SpoolError, SpoolFull, turn
from tests.machines.tools import ROOT
from tests.waiting import until

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@asynccontextmanager
async def opened(path: Path, *most: int) -> AsyncIterator[Spool]:
    spool = Spool(path, *most)
    try:
        yield spool
    finally:
        await spool.close()


def bodies(count: int, tag: str = "o") -> list[bytes]:
    return [b'{"reference":"%s%d"}' % (tag.encode(), number) for number in range(count)]


def program(text: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that does `text` with what this module's tests use at hand."""
    head = "import asyncio, os, signal, sys\nfrom pathlib import Path\nfrom orders.client.spool import Spool\n"
    argv = [sys.executable, "-c", head + text, *map(str, arguments)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "front" / "spool.db"


def test_what_was_appended_is_there_for_the_next_to_open_it_in_order(path: Path, run: Run) -> None:
    async def first() -> None:
        async with opened(path) as spool:
            assert await spool.empty()
            await spool.append(bodies(3))
            await spool.append([b"late"])

    async def second() -> None:
        async with opened(path) as spool:
            waiting = await spool.waiting()
            assert [each.body for each in waiting] == [*bodies(3), b"late"]
            assert [each.body for each in await spool.waiting(waiting[1].number, most=1)] == bodies(3)[2:]
            status = await spool.standing()
            assert (status.waiting, status.refused) == (4, 0)
            assert status.size == sum(map(len, [*bodies(3), b"late"]))
            assert status.oldest is not None

    run(first())
    run(second())


def test_only_its_owner_may_read_it(path: Path, run: Run) -> None:
    async def look() -> None:
        async with opened(path) as spool:
            await spool.append(bodies(1))
            with turn(path) as mine:
                assert mine
                modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        assert modes == dict.fromkeys(("spool.db", "spool.db-wal", "spool.db-shm", "spool.db.lock"), 0o600)

    before = os.umask(0)
    try:
        run(look())
        path.chmod(0o644)
        run(look())
    finally:
        os.umask(before)


def test_orders_that_come_together_share_a_commit_that_waits_for_the_disk(path: Path, run: Run) -> None:
    async def together() -> int:
        async with opened(path) as spool:
            base, said = spool._base, []
            assert base.execute("PRAGMA synchronous").fetchone() == (2,)
            assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            base.set_trace_callback(said.append)
            await asyncio.gather(*(spool.append([body]) for body in bodies(1000)))
            assert (await spool.standing()).waiting == 1000
            return said.count("COMMIT")

    assert 1 <= run(together()) <= 100


def test_an_order_that_waits_is_not_written_twice(path: Path, run: Run) -> None:
    async def twice() -> None:
        async with opened(path) as spool:
            (first, same) = await spool.append([b"a", b"a"])
            assert isinstance(first, Spooled)
            assert same == Spooled(first.number, True)
            await spool.settle([first.number])
            (anew,) = await spool.append([b"a"])
            assert isinstance(anew, Spooled)
            assert (anew.repeated, anew.number > first.number) == (False, True)

    run(twice())


def test_refused_orders_are_kept_with_the_reason_and_can_wait_again(path: Path, run: Run) -> None:
    async def refuse() -> None:
        async with opened(path) as spool:
            numbers = [each.number for each in await spool.append(bodies(3)) if isinstance(each, Spooled)]
            await spool.settle(numbers[:1], [(numbers[1], "conflict", "taken")])
            assert [await spool.outcome(number) for number in numbers] == [None, "conflict", "waiting"]
            (kept,) = await spool.refused()
            assert (kept.body, kept.kind, kept.reason) == (bodies(3)[1], "conflict", "taken")
            assert kept.spooled_at <= kept.refused_at
            assert [each.number for each in await spool.waiting()] == numbers[2:]
            await spool.append([kept.body])
            status = await spool.standing()
            assert (status.waiting, status.refused) == (2, 1)
            await spool.settle([kept.number])
            assert await spool.refused() == []

    run(refuse())


@pytest.mark.parametrize("most", [(3, 1000), (1000, 3 * len(bodies(1)[0]))], ids=["orders", "bytes"])
def test_a_full_spool_says_so_and_takes_what_fits(path: Path, run: Run, most: tuple[int, int]) -> None:
    async def fill() -> None:
        async with opened(path, *most) as spool:
            outcomes = await spool.append(bodies(5))
            assert [isinstance(each, SpoolFull) for each in outcomes] == [False, False, False, True, True]
            assert str(path) in str(outcomes[3])
            assert "is full" in str(outcomes[3])
            assert (await spool.append(bodies(1)))[0] == Spooled(1, True)
            await spool.settle([1])
            assert isinstance((await spool.append(bodies(1, "p")))[0], Spooled)
            assert isinstance((await spool.append(bodies(2, "q")))[0], SpoolFull)

    run(fill())


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage" * 1000)


def another_programs(path: Path) -> None:
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE orders (number INTEGER)")
    base.close()


def of_the_future(path: Path) -> None:
    asyncio.run(Spool(path).close())
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 2")
    base.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (garbage, "damaged, or is no spool"),
        (Path.touch, "no spool of Relais"),
        (another_programs, "no spool of Relais"),
        (of_the_future, "version 2"),
        (Path.mkdir, "cannot be used"),
    ],
)
def test_what_is_no_spool_is_refused_and_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    path = tmp_path / "spool.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SpoolError, match=says) as caught:
        Spool(path)
    assert str(path) in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_damage_within_is_an_error_and_not_an_empty_spool(path: Path, run: Run) -> None:
    async def fill() -> None:
        async with opened(path) as spool:
            await spool.append([b"x" * 500 + body for body in bodies(2000)])

    async def read() -> None:
        async with opened(path) as spool:
            with pytest.raises(SpoolError, match="damaged"):
                await spool.waiting(most=2000)

    run(fill())
    with path.open("r+b") as file:
        file.seek(40 * 4096)
        file.write(os.urandom(40 * 4096))
    run(read())


def test_a_place_that_cannot_be_written_is_named(run: Run) -> None:
    with pytest.raises(SpoolError, match=r"/proc/nowhere/spool\.db cannot be used"):
        Spool(Path("/proc/nowhere/spool.db"))


def test_a_disk_that_is_full_is_an_error_and_costs_nothing_that_was_there(path: Path, run: Run) -> None:
    async def fill() -> None:
        async with opened(path) as spool:
            await spool.append(bodies(5))
            spool._base.execute("PRAGMA max_page_count = 20")
            with pytest.raises(SpoolError, match="full"):
                await spool.append([b"x" * 200_000, *bodies(1, "p")])
            assert [each.body for each in await spool.waiting()] == bodies(5)
            assert isinstance((await spool.append(bodies(1, "q")))[0], Spooled)
            assert (await spool.standing()).waiting == 6

    run(fill())


def test_a_page_is_bounded_in_bytes_and_holds_one_order_at_least(path: Path, run: Run) -> None:
    async def look() -> list[int]:
        async with opened(path) as spool:
            await spool.append([bytes([n]) * 3 * 1024**2 for n in range(1, 4)])
            first = await spool.waiting()
            return [len(first), len(await spool.waiting(first[-1].number))]

    assert run(look()) == [2, 1]


def test_a_closed_spool_takes_nothing(path: Path, run: Run) -> None:
    async def late() -> None:
        async with opened(path) as spool:
            pass
        with pytest.raises(SpoolError, match="closed"):
            await spool.append(bodies(1))

    run(late())


APPENDING = """
async def main():
    spool = Spool(Path(sys.argv[1]))
    for number in range(int(sys.argv[3])):
        await spool.append([f"{sys.argv[2]}{number}".encode()])
        print(number, flush=True)
    await spool.close()
sys.stdin.readline()
asyncio.run(main())
"""


def test_several_processes_share_one_spool_from_the_very_first_moment(path: Path, run: Run) -> None:
    processes = [program(APPENDING, path, tag, 150) for tag in "abc"]
    for process in processes:  # all are there, and make the file together
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0

    async def look() -> list[bytes]:
        async with opened(path) as spool:
            return [each.body for each in await spool.waiting(most=1000)]

    found = run(look())
    for tag in (b"a", b"b", b"c"):
        assert [body for body in found if body.startswith(tag)] == [b"%b%d" % (tag, n) for n in range(150)]
    assert {each.name for each in path.parent.iterdir()} == {"spool.db"}


def test_whatever_was_said_to_be_in_the_spool_outlives_a_sigkill(path: Path, run: Run) -> None:
    with program(APPENDING, path, "k", 10**6) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        said = [int(process.stdout.readline()) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout.read().split("\n")[:-1]]

    async def look() -> list[bytes]:
        async with opened(path) as spool:
            return [each.body for each in await spool.waiting(most=10**6)]

    found = run(look())
    assert found[: len(said)] == [b"k%d" % number for number in said]
    assert len(found) <= len(said) + 1


HOLDING = """
from orders.client.spool_file import turn
with turn(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    signal.pause()
"""


def test_the_turn_is_one_processs_and_ends_with_it(path: Path) -> None:
    path.parent.mkdir()
    with program(HOLDING, path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with turn(path) as mine:
            assert not mine
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)

    def free() -> bool:
        with turn(path) as mine:
            return mine

    until(free, 10, what="the kernel gave the turn back")


def test_a_delivered_note_is_not_left_in_the_file(path: Path, run: Run) -> None:
    async def through() -> None:
        async with opened(path) as spool:
            (spooled,) = await spool.append([json.dumps({"note": "for Mme Untel"}).encode()])
            assert isinstance(spooled, Spooled)
            await spool.settle([spooled.number])

    run(through())
    assert b"Untel" not in path.read_bytes()
