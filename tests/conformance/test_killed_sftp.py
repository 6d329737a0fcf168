"""Workers, OpenSSH, the EDI partner and the network are killed again and again: each order is one file and one answer.

Several processes work on the same orders at once, without a lease that keeps them apart.
"""

import json
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from tests.conformance import hands
from tests.conformance.counterparts import started
from tests.conformance.files import OverSftp
from tests.machines.wire import wire_to
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

WORKERS = 3
PER_FAULT = 2  # orders that come with each fault
fork = multiprocessing.get_context("forkserver")


@pytest.fixture
def erp(leash: Leash) -> Iterator[OverSftp]:
    with started(OverSftp, leash) as erp:
        yield erp


def endure(erp: OverSftp, board: Path, faults: int) -> None:
    fork.set_forkserver_preload(["tests.conformance.hands", "workers.erp.files"])
    dice, met = random.Random(14), Counter[str]()
    orders = [erp.order(*(dice.randint(1, 9) for _ in range(dice.randint(1, 3)))) for _ in range(PER_FAULT * faults)]
    limit = board / "limit"
    limit.write_text("0")
    with wire_to(erp.port) as wire:
        settings = erp.settings(wire.port)

        def worker() -> multiprocessing.process.BaseProcess:
            process = fork.Process(target=hands.work, args=(settings, orders, board), daemon=True)
            process.start()
            return process

        workers = [worker() for _ in range(WORKERS)]

        def fault(kind: str) -> None:
            met[kind] += 1
            if kind == "worker":
                place = dice.randrange(WORKERS)
                workers[place].kill()
                workers[place].join()
                workers[place] = worker()
            elif kind == "sshd":
                erp.sshd.kill()
                erp.sshd.start()
            elif kind == "session":
                erp.sshd.hang_up()
            elif kind == "partner":
                erp.edi.kill()
                erp.edi.start()
            else:
                wire.cut()
                time.sleep(dice.uniform(0.02, 0.3))
                wire.mend()

        try:
            for number in range(faults):
                part = board / ".limit"
                part.write_text(str(PER_FAULT * (number + 1)))
                part.rename(limit)
                fault(dice.choices(["worker", "session", "sshd", "network", "partner"], [40, 25, 10, 20, 5])[0])
                time.sleep(dice.uniform(0.05, 0.8))
                assert [each.exitcode for each in workers] == [None] * WORKERS, "a worker died by itself"
            until(lambda: len([*board.glob("*-*")]) == len(orders), 900, 1, "every order is decided")
        finally:
            for each in workers:
                each.kill()
                each.join()
    print(f"{len(orders)} orders, faults: {dict(met)}")
    said = {order.id: json.loads((board / str(order.id)).read_text()) for order in orders}
    assert Counter(kind for kind, _ in said.values()) == {"accepted": len(orders)}
    assert erp.effects() == dict.fromkeys((order.id for order in orders), 1)
    assert {order for order, boxes in erp.edi.orders().items() if boxes} == {order.id for order in orders}
    assert len({reference for _, (reference, _) in said.values()}) == len(orders)
    ordered = {order.id: [line.quantity for line in order.order.lines] for order in orders if order.order}
    assert {each: lines for each, (_, (_, lines)) in said.items()} == ordered


def test_a_few_are_killed(erp: OverSftp, tmp_path: Path) -> None:
    endure(erp, tmp_path, 10)


@pytest.mark.slow
def test_two_hundred_are_killed(erp: OverSftp, tmp_path: Path) -> None:
    endure(erp, tmp_path, int(os.environ.get("RELAIS_TEST_FAULTS", "200")))
