"""`make demo-tryton`: the weekend of 19 October 2024 with a real Tryton, which is killed and restored from a backup.

What Relais did is told by its own commands, what Tryton took by Tryton's own tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from orders.sentences import count
from tests.conformance.whole.tryton_stage import TrytonInstallation
from tests.machines import tryton
from workers.demo import play
from workers.demo.pharmacies import Habit
from workers.demo.story import Story, Unfulfilled
from workers.demo.weekend import ATTACK, MORNING, REDIS, RETURN, WORKER, Scene

ORDERS: Final = 400  # a Tryton takes a few a second
SECONDS: Final = 190.0
SLOWEST: Final = 60.0  # s that a busy machine may take for what it does in one otherwise

SCENES: Final = (
    replace(MORNING, time=0.16, sentence="1,800 pharmacies order; Tryton confirms a sale of each, and is backed up."),
    replace(ATTACK, time=0.18, sentence="SIGKILL to Tryton and to its PostgreSQL. The intake goes on."),
    replace(WORKER, time=0.1),
    replace(REDIS, time=0.12),
    replace(RETURN, time=0.44, sentence="Tryton is restored from the backup, and lacks what it acknowledged since."),
)


class TrytonStory(Story):
    """The ERP is a Tryton."""

    stage: TrytonInstallation
    scenes = SCENES
    longest = 335.0

    async def morning(self, act: Scene) -> None:
        """It makes sales, and is backed up before the last of them."""
        async with self.on(act):
            self.traffic.slip_in([Habit.UNKNOWN_PRODUCT] * 3 + [Habit.RETRIED] * 4)
            await self.until(lambda: self.watch.now.delivered > 0, SLOWEST, "an order was delivered")
            half = self.planned(act) / 2
            await self.until(lambda: self.watch.elapsed > half, half + 5, "half of the morning passed")
            backed_up = await self.stage.back_up()
            self.tell(f"Tryton is backed up with {count(backed_up, 'sale')}.")
        since = lambda: self.watch.now.delivered > backed_up + 5  # noqa: E731
        await self.until(since, SLOWEST, "it acknowledged some more")

    async def attack(self, act: Scene) -> None:
        """It and its PostgreSQL are killed; operators trust it no longer."""
        async with self.on(act):
            began = time.monotonic()
            await self.stage.kill_tryton()
            self.erp_is_up = False
            self.tell(f"Killed. It had acknowledged {count(self.watch.now.delivered, 'order')}.")
            odd = [Habit.SHORT_LIVED, Habit.RETRIED, Habit.UNKNOWN_PRODUCT, Habit.SHORT_LIVED]
            self.traffic.slip_in([*odd, Habit.REFERENCE_REUSED, *odd, *odd[:2]])
            await self.until(lambda: self.watch.now.circuit == "open", SLOWEST, "the circuit opened")
            self.done("circuit_opened", began)
            await self._operate("quarantine", "--because", "an intrusion")
            self.tell("The circuit is open, and an operator puts Tryton in quarantine.")
        await self.until(lambda: self.traffic.all_slipped_in, 20, "every pharmacy was heard")

    async def come_back(self, act: Scene) -> None:
        """It is restored; what it has forgotten goes again, and what waited with it."""
        async with self.on(act):
            await self.until(self.short_lives_are_over, 20, "the short-lived orders ran out")
            await self.stage.restore()
            self.erp_is_up = True
            await self._put_back()
            waiting, since, began = self.watch.now.backlog, self.watch.elapsed, time.monotonic()
            await self._operate("release", "--because", "restored, and put back what it had lost", "--yes")
            await self.replay()
            self.traffic.pace = self.traffic.left / (self.planned(act) * 0.5)
            await self.until(lambda: self.watch.now.circuit == "closed", SLOWEST, "a canary came back")
            took = self.done("canary_back", began)
            self.tell(f"Released. A canary came back after {took:.1f} s: the circuit closes.")
            await self.until(self.all_is_final, 4 * SLOWEST, "the backlog drained")
            took = self.done("drained", began)
            self.tell(f"The backlog of {waiting:,} drained in {took:.1f} s, new orders included.")
            self.tell(f"The window: {', '.join(map(str, self.watch.growth(since)))}.")
            await self._look_again()

    async def _put_back(self) -> None:
        """What Tryton had acknowledged and has no more goes back in the backlog, before anything is sent."""
        why = ("--because", "Tryton was restored from a backup")
        told = await self._reported("reconcile", "--since", "1d", *why, "--resend", "--yes")
        if not told["missing"]:
            raise Unfulfilled("Tryton came back with all that it had acknowledged: nothing was lost")
        gone, all_of = told["missing"], told["missing"] + told["present"]
        self.tell(f"Restored. It lacks {gone} of {count(all_of, 'order')} that it had acknowledged. They go again.")

    async def _look_again(self) -> None:
        """All that is acknowledged is there; people decide on what can never go."""
        calls = await self.stage.calls()
        self.tell(f"{count(sum(calls), 'sale')} in {count(len(calls), 'call')}, up to {max(calls)} in one.")
        told = await self._reported("reconcile", "--since", "1d", "--because", "does it have all?")
        self.tell(f"{count(told['present'], 'order')} there as it acknowledged them, and no other.")
        why = ("--because", "their pharmacies were called")
        gone = await self._reported("dead", "discard", "--all", *why, "--yes")
        self.given_up = {order_id for order_id, order in self.traffic.told.orders.items() if order.expected}
        self.tell(f"{count(gone['discarded'], 'dead letter')} given up: their pharmacies were called.")

    async def _reported(self, *words: str) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(await self._operate(*words, "--json"))
        return report

    async def _operate(self, *words: str) -> str:
        """What an operator does: what the command said."""
        code, said = await self.stage.command(*words)
        if code:
            raise Unfulfilled(f"`relais {' '.join(words)}` ended with {code}: {said}")
        return said


def main() -> int:
    """As `workers.demo.run`."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.whole.weekend", description=__doc__)
    parser.add_argument("--orders", type=int, default=ORDERS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that all acts are planned to last")
    parser.add_argument("--data-dir", type=Path, help="new or empty; it stays")
    parser.add_argument("--keep", action="store_true", help="the temporary directory stays")
    parser.add_argument("--json", action="store_true", dest="as_json", help="the ledger on stdout")
    if not tryton.READY.exists():
        print("there is no Tryton: run `make erp-tools`", file=sys.stderr)
        return play.UNABLE
    return play.play(TrytonInstallation, TrytonStory, **vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
