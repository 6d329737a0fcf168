"""The leader's log of operators' acts: each once, also one that is committed long after those that came behind it."""

import json
import logging
from typing import Any

import pytest
from sqlalchemy import text

from config.telemetry.logs import STEPS
from orders.journal import transactional
from tests.bench import Bench, OnBench
from workers.dispatch.operator_log import OperatorLog
from workers.operations import acting_as, record

CANCELS = text("""
INSERT INTO operations (operator, act, detail) SELECT 'client front', 'order cancel', '{}' FROM generate_series(1, 500)
""")
AGED = text("""
INSERT INTO operations (at, operator, act, detail)
SELECT now() - interval '2 minutes', 'op.old', 'pause', '{"backend": "erp"}'
""")


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    lines = [json.loads(line) for record in caplog.records if record.name == STEPS for line in record.msg.splitlines()]
    caplog.clear()
    return [(each["operator"], each["act"], each["backend"], each.get("count")) for each in lines]


def test_each_act_is_told_once_however_late_it_is_committed(
    on_bench: OnBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, STEPS)

    async def work(bench: Bench) -> None:
        log = OperatorLog()
        async with bench.owner.connect() as connection:
            await connection.execute(AGED)
        async with bench.engine.connect() as leader:
            await log.tell(leader)
            assert told(caplog) == []
            async with transactional(bench.engine).begin() as slow:
                with acting_as("op.slow"):
                    await record(slow, "replay", None, {"backend": "erp", "orders": 7})
                await bench.run(CANCELS)
                async with transactional(bench.engine).begin() as quick:
                    with acting_as("op.quick"):
                        await record(quick, "pause", None, {"backend": "erp"})
                await log.tell(leader)
                assert told(caplog) == []
            await log.tell(leader)
            assert told(caplog) == [("op.slow", "replay", "erp", "7"), ("op.quick", "pause", "erp", None)]
            log.begin_lead()
            await log.tell(leader)
            assert told(caplog) == []

    on_bench(work)


def test_another_leader_tells_what_was_done_in_the_last_minute(
    on_bench: OnBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, STEPS)

    async def work(bench: Bench) -> None:
        async with bench.owner.connect() as connection:
            await connection.execute(AGED)
        async with transactional(bench.engine).begin() as connection:
            with acting_as("op.new"):
                await record(connection, "resume", None, {"backend": "erp"})
        async with bench.engine.connect() as leader:
            await OperatorLog().tell(leader)
        assert told(caplog) == [("op.new", "resume", "erp", None)]

    on_bench(work)
