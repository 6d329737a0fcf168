"""`python -m tests.soak.driver`: run the soak for SECONDS with a SEED; prints the table and the verdict, exit code 1
when a promise was broken. What it writes stays in the folder that it names then, and is removed otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from config.embedded.leash import Leash
from orders.states import BACKLOG, listed
from tests.machines.servers import shared_seed
from tests.soak.checker import Verdict, check, walks
from tests.soak.faults import Kind, kinds
from tests.soak.front_ends import FrontEnd, Lister, SpoolFront
from tests.soak.intrusions import intrusions
from tests.soak.recovery import Inflicted
from tests.soak.report import report
from tests.soak.stack import Stack
from workers.erp.sim.book import read_effects

INTAKES: Final = 2
WORKERS: Final = 2
FRONTS: Final = 4
PAUSE: Final = 0.15  # mean seconds between two acts of a front end
EVERY: Final = 2.0  # mean seconds between two faults
AT_ONCE: Final = 3
LAST: Final = 5.0  # seconds that orders still come after the last fault
DRAIN: Final = 300.0  # seconds until all is quiet
UNSETTLED: Final = f"SELECT count(*) AS n FROM deliveries WHERE state IN ({listed(BACKLOG)})"
MORE_DESCRIPTORS: Final = 32  # that a process may have open after it all
UNWANTED: Final = ("Traceback (most recent call last)", "was never retrieved")


@dataclass
class Soak:
    """One run."""

    seed: str
    seconds: float
    only: str
    folder: Path
    done: list[Inflicted] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    claimed: set[str] = field(default_factory=set)

    async def run(self, stack: Stack) -> Verdict:
        """Everything, to the verdict; the stack still runs."""
        await stack.start(INTAKES, WORKERS)
        logs = self.folder / "front-ends"
        logs.mkdir()
        fronts: list[Any] = [
            FrontEnd(f"F{n}", stack.urls, stack.key, logs, f"{self.seed}/{n}", PAUSE) for n in range(FRONTS)
        ]
        fronts.append(SpoolFront("S1", stack.urls[0], stack.key, logs, PAUSE * 2))
        listers = [Lister(f"lister {n}", url, stack.key) for n, url in enumerate(stack.urls, 1)]
        tasks = [asyncio.create_task(each.run()) for each in (*fronts, *listers)]
        await self._calm(stack)
        watch = asyncio.create_task(self._watch(stack))
        at_first = stack.descriptors()
        await self._harm(stack)
        for each in (*fronts, *listers):
            each.stopped = True
        ended, waiting = await asyncio.wait(tasks, timeout=DRAIN)
        self.failed += [f"a front end failed: {error!r}" for each in ended if (error := each.exception()) is not None]
        self.failed += [f"a front end still waits {DRAIN:g} s after the last fault" for _ in waiting]
        for each in waiting:
            each.cancel()
        quiet = await self._drained(stack)
        watch.cancel()
        for lister in listers:
            await lister.finish()
        verdict = await check(stack, logs, {lister.name: lister.seen for lister in listers})
        verdict.other += self.failed + stack.fell + ([] if quiet else [f"not quiet within {DRAIN:g} s"])
        verdict.other += _grown(at_first, stack.descriptors())
        code, said = await stack.tell("audit")
        verdict.other += [f"audit exits {code}: {said[-2000:]}"] if code else []
        verdict.other += [line for log in sorted(stack.logs.glob("*.log")) for line in _unwanted(log)]
        return verdict

    async def _calm(self, stack: Stack) -> None:
        """Until orders flow, before the first fault."""
        ends = time.monotonic() + 90
        while sum(1 for _ in read_effects(stack.book)) < 50 if stack.book.exists() else True:
            if time.monotonic() > ends:
                raise AssertionError(f"no orders flow; see {stack.logs}")
            await asyncio.sleep(0.2)

    async def _watch(self, stack: Stack) -> None:
        while True:
            await asyncio.sleep(1)
            await stack.mend()

    async def _harm(self, stack: Stack) -> None:
        """One fault after the other, at times two at once: each kind once, then by chance."""
        chance = random.Random(self.seed)
        offered = [kind for kind in kinds(stack) + intrusions(stack) if self.only in kind.name]
        owed = chance.sample(offered, len(offered))
        ends, running = time.monotonic() + self.seconds, set[asyncio.Task[None]]()
        while time.monotonic() < ends:
            kind = owed[-1] if owed else chance.choices(offered, [each.weight for each in offered])[0]
            free = [each for each in kind.strikes if not self.claimed & {each, each.partition("-")[0], *kind.also}]
            if free and len(running) < AT_ONCE:
                owed = owed[:-1]
                task = asyncio.create_task(self._inflict(stack, kind, chance.choice(free), chance.uniform(*kind.lasts)))
                running.add(task)
                task.add_done_callback(running.discard)
                await asyncio.sleep(chance.expovariate(1 / EVERY))
            else:
                await asyncio.sleep(0.1)
        await asyncio.gather(*running)
        await asyncio.sleep(LAST)

    async def _inflict(self, stack: Stack, kind: Kind, target: str, lasts: float) -> None:
        claimed = {target, target.partition("-")[0], *kind.also}
        self.claimed |= claimed
        began = ended = time.time()
        try:
            async with kind.inflict(stack, target):
                began = time.time()
                await asyncio.sleep(lasts)
                ended = time.time()
            self.done.append(Inflicted(kind.name, target, began, ended, kind.kills))
        except Exception as error:
            self.failed.append(f"{kind.name} of {target} could not be done: {error!r}")
        finally:
            self.claimed -= claimed

    async def _drained(self, stack: Stack) -> bool:
        ends = time.monotonic() + DRAIN
        while time.monotonic() < ends:
            (row,) = await stack.sql(UNSETTLED)
            if row["n"] == 0 and stack.spilled() == 0:
                return True
            await asyncio.sleep(0.5)
        return False


def _grown(before: dict[str, int], after: dict[str, int]) -> list[str]:
    grown = {name: (before[name], count) for name, count in after.items() if count > before[name] + MORE_DESCRIPTORS}
    return [f"{name} had {few} descriptors open, and has {many}" for name, (few, many) in grown.items()]


def _unwanted(log: Path) -> list[str]:
    text = log.read_text(errors="replace")
    return [f"{log.name}: {text.count(each)} times: {each}" for each in UNWANTED if each in text]


def soak(seconds: float, seed: str, only: str = "") -> dict[str, Any]:
    """Run it; prints the seed first and the report last."""
    print(f"soak: SECONDS={seconds:g} SEED={seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="relais-soak-"))
    run = Soak(seed, seconds, only, folder)

    logs = folder / "front-ends"

    async def whole(stack: Stack) -> tuple[dict[str, Any], list[str]]:
        try:
            verdict = await run.run(stack)
            found = report(seed, seconds, run.done, stack.book, logs, verdict)
            return found, await walks(stack, logs, verdict)
        finally:
            await asyncio.to_thread(stack.stop)

    with shared_seed(), Leash() as leash:
        found, told = asyncio.run(whole(Stack(folder, leash)))
    print(found["table"], *told, json.dumps(found["figures"]), *found["wrong"], sep="\n")
    print(f"seed {seed}: {found['faults']} faults of {found['kinds']} kinds; " + ", ".join(
        f"{found[name]} {name}" for name in ("lost", "doubled", "altered", "stuck")
    ))  # fmt: skip
    if found["wrong"]:
        print(f"see {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Soak Relais in faults.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**9)))
    parser.add_argument("--only", default="", help="kinds of faults with this in their name")
    parser.add_argument("--json", type=Path, help="write the report here too")
    given = parser.parse_args(argv)
    found = soak(given.seconds, given.seed, given.only)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
