"""Whatever happens in whatever order, deliveries only go where the table lets them, and the books balance."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from sqlalchemy import text

from orders.errors import TooLate
from orders.intake.cancel import cancel
from orders.states import TRANSITIONS, State
from tests.bench import Bench, Scripted
from workers.delivery.claim import claim
from workers.delivery.deliver import deliver
from workers.delivery.poll import poll
from workers.dispatch.scheduler import EXPIRE
from workers.erp.port import Kind
from workers.proof.audit import audit
from workers.reconcile.compare import reconcile
from workers.reconcile.patience import Patience
from workers.reconcile.resend import resend
from workers.reconcile.runs import begin
from workers.replay.choice import Choice
from workers.replay.redrive import discard, replay

KINDS = [kind for kind in Kind if kind is not Kind.ABSENT]
EVENTS = st.one_of(
    st.sampled_from(
        ["accept", "dispatch", "die", "rescue", "poll", "replay", "discard", "cancel", "expire", "time", "resend"]
    ),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
)


async def states(bench: Bench) -> dict[UUID, State]:
    rows = await bench.run(text("SELECT order_id, state FROM deliveries"))
    return {row[0]: State(row[1]) for row in rows}


def answering(kinds: list[Kind], found: Kind = Kind.ABSENT) -> Scripted:
    return Scripted(lambda order_id: kinds[order_id.int % len(kinds)], found=found)


async def happen(bench: Bench, event: str | list[Kind]) -> None:
    """One thing that can happen to a Relais."""
    if isinstance(event, list):
        await deliver(bench.resources(answering(event)), list(await states(bench)))
    elif event == "accept":
        await bench.accept(3)
    elif event == "dispatch":
        await bench.sql("UPDATE backends SET circuit = 'half_open', probe_at = NULL WHERE circuit = 'open'")
        await bench.dispatch()
    elif event == "die":
        await claim(bench.worker, list(await states(bench)), bench.settings)
    elif event == "rescue":
        await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
        await bench.rescue()
    elif event == "poll":
        kinds = [Kind.ACCEPTED, Kind.REFUSED, Kind.PENDING, Kind.ABSENT, Kind.UNKNOWN]
        for number, order_id in enumerate(await states(bench)):
            erp = answering([Kind.ACCEPTED], kinds[number % 5])
            erp.receipt = await bench.receipt(order_id)
            await poll(bench.resources(erp), [order_id])
    elif event == "replay":
        await replay(bench.by("ops"), Choice(state=State.DEAD), "a test")
    elif event == "discard":
        await discard(bench.by("ops"), Choice(state=State.DEAD), "given up")
    elif event == "cancel":
        for order_id in list(await states(bench))[::2]:
            with suppress(TooLate):
                await cancel(bench.by("api"), order_id, "front", "request")
    elif event == "expire":
        await bench.sql("UPDATE deliveries SET valid_until = now() - interval '1 second' WHERE priority = 1")
        await bench.run(EXPIRE.bindparams(backend=bench.settings.erp.backend))
    elif event == "resend":
        run = await begin(bench.by("ops"), bench.settings.erp.backend, datetime(2026, 1, 1, tzinfo=UTC), None, "a test")
        run = await reconcile(bench.by("ops"), answering([Kind.ACCEPTED]), run, Patience(0, 5), lambda *_: None)
        await resend(bench.by("ops"), run, "a test", lambda done: None)
    elif event == "time":
        await bench.now_due()


def test_every_history_stays_within_the_table_of_transitions(
    on_bench: Callable[[Callable[[Bench], Awaitable[Any]]], Any],
) -> None:
    seen: set[tuple[State, State]] = set()

    @given_settings(max_examples=20, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(EVENTS, min_size=4, max_size=14))
    def histories(events: list[str | list[Kind]]) -> None:
        async def work(bench: Bench) -> None:
            before = await states(bench)
            for event in ["accept", "dispatch", *events]:
                await happen(bench, event)
                after = await states(bench)
                assert set(before) <= set(after), "no order is ever lost"
                seen.update((old, after[one]) for one, old in before.items() if after[one] is not old)
                before = after
            assert (await audit(bench.by("audit"))).balanced

        on_bench(work)

    histories()
    # One event may take an order two steps on (claimed and settled at once): every step must be in the table.
    steps = set(TRANSITIONS) | {(State.DISPATCHED, new) for old, new in TRANSITIONS if old is State.DELIVERING}
    assert seen <= steps
    assert len(seen) >= 8, "the histories reached too little to say anything"
