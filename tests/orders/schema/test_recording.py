"""What a stolen login of the console or of the command line cannot do by plain SQL without an act that names it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import asyncpg
import pytest

from config.embedded.postgres import Postgres
from orders.states import State
from tests.journal import execute
from tests.machines.journals import Journals
from tests.machines.roles import login

Run = Callable[[Coroutine[Any, Any, Any]], Any]

ONE, DEAD, DELIVERED, GONE = (f"0199a2b4-7c11-7def-8abc-0123456789{last}" for last in ("ab", "ac", "ad", "ae"))
STANDING = {ONE: State.ACCEPTED, DEAD: State.DEAD, DELIVERED: State.DELIVERED, GONE: State.DELIVERING}
SEED = (
    *(
        "INSERT INTO deliveries (order_id, state, backend, priority, cut_off, unsure) "
        f"VALUES ('{each}', '{state}', 'erp', 1, 'infinity', true)"
        for each, state in STANDING.items()
    ),
    "INSERT INTO backends (name, \"window\", paused) VALUES ('erp', 50, false), ('held', 50, true)",
    "INSERT INTO replays (id, backend, choice, started_by) OVERRIDING SYSTEM VALUE VALUES (7, 'erp', '{}', 'alice')",
    "INSERT INTO webhooks (client, url, secrets) VALUES ('front', 'https://front.example/', '{}')",
    "INSERT INTO asides (digest, kind, why, raw) VALUES ('d', 'forged', '\"w\"', 'r')",
)
NEXT = 42  # the number of whatever begins
NUMBERED = "SELECT setval('replays_id_seq', {0}), setval('reconciliations_id_seq', {0})".format(NEXT - 1)
BOTH = ("console", "ops")
OPS = ("ops",)
Act = tuple[str, dict[str, Any]]


def moving(order: str, to: str) -> str:
    return f"UPDATE deliveries SET {to} WHERE order_id = '{order}'"


class Case(NamedTuple):
    """What is done by whom, in a transaction with which acts it is refused, and with which it is not."""

    statement: str
    table: str
    wrong: tuple[Act, ...]
    right: Act | None
    who: tuple[str, ...] = BOTH


CANCEL = moving(ONE, "state = 'cancelled', settled_at = now()")
CASES = {
    "cancel one": Case(
        CANCEL,
        "deliveries",
        (("order cancel", {"order": DEAD}), ("pause", {"order": ONE}), ("cancel", {})),
        ("order cancel", {"order": ONE}),
    ),
    "cancel some": Case(
        CANCEL,
        "deliveries",
        (
            ("orders cancel", {"ids": [DEAD]}),
            ("discard", {"ids": [ONE]}),
            ("orders cancel", {"choice": {"ids": [ONE]}}),
        ),
        ("orders cancel", {"ids": [DEAD, ONE]}),
    ),
    "cancel two and name one": Case(
        f"UPDATE deliveries SET state = 'cancelled' WHERE order_id IN ('{ONE}', '{DEAD}')",
        "deliveries",
        (("orders cancel", {"ids": [ONE]}),),
        ("orders cancel", {"ids": [ONE, DEAD]}),
    ),
    "give up": Case(
        moving(DEAD, "state = 'discarded'"),
        "deliveries",
        (("replay", {"ids": [DEAD]}), ("discard", {"ids": []})),
        ("discard", {"ids": [DEAD]}),
    ),
    "put through again": Case(
        moving(DEAD, "state = 'accepted', reason = NULL"),
        "deliveries",
        (("replay", {"backend": "erp"}), ("resend", {"ids": [DEAD]})),
        ("replay", {"ids": [DEAD]}),
    ),
    "send again": Case(
        moving(DELIVERED, "state = 'accepted', unsure = true"),
        "deliveries",
        (("replay", {"ids": [DELIVERED]}),),
        ("resend", {"ids": [DELIVERED]}),
    ),
    "divert": Case(
        moving(ONE, "backend = 'mine', due_at = now()"),
        "deliveries",
        (("divert", {"ids": {"erp": [DEAD]}}), ("divert", {"to": "mine"})),
        ("divert", {"ids": {"erp": [DEAD, ONE]}}),
    ),
    "divert what is dead": Case(
        moving(DEAD, "backend = 'mine', state = 'accepted'"),
        "deliveries",
        (("divert", {"ids": {"erp": [DEAD]}}), ("replay", {"ids": [DEAD]})),
        None,
    ),
    "rescue": Case(
        moving(GONE, "state = 'accepted'"),
        "deliveries",
        (("replay", {"ids": [GONE]}), ("resend", {"ids": [GONE]})),
        None,
    ),
    "turns": Case(
        moving(ONE, "turn = 3, due_at = now(), attempts = 0, failed_at = NULL"),
        "deliveries",
        (("replay", {"backend": "held"}), ("replay pause", {"backend": "erp"})),
        ("replay", {"backend": "erp"}),
    ),
    "due at once": Case(
        moving(ONE, "turn = 0, due_at = now(), attempts = 0, failed_at = NULL"),
        "deliveries",
        (("replay", {"backend": "erp"}), ("replay", {"ids": [DEAD]})),
        ("replay", {"ids": [ONE]}),
    ),
    "never due": Case(
        moving(ONE, "due_at = 'infinity'"), "deliveries", (("replay", {"backend": "erp", "ids": [ONE]}),), None
    ),
    "sure": Case(moving(ONE, "unsure = false"), "deliveries", (("replay", {"backend": "erp", "ids": [ONE]}),), None),
    "readmit": Case(
        "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
        "VALUES (gen_random_uuid(), 'accepted', 'erp', 1, 'infinity')",
        "deliveries",
        (("spill drop", {}),),
        ("spill readmit", {"orders": 1}),
        OPS,
    ),
    "pause": Case(
        "UPDATE backends SET paused = true, held_why = '\"w\"' WHERE name = 'erp'",
        "backends",
        (("pause", {"backend": "held"}), ("resume", {"backend": "erp"})),
        ("pause", {"backend": "erp"}),
    ),
    "resume": Case(
        "UPDATE backends SET paused = false WHERE name = 'held'",
        "backends",
        (("resume", {"backend": "erp"}), ("pause", {"backend": "held"})),
        ("resume", {"backend": "held"}),
    ),
    "another reason": Case(
        "UPDATE backends SET held_why = '\"mine\"' WHERE name = 'held'",
        "backends",
        (("pause", {"backend": "erp"}),),
        ("pause", {"backend": "held"}),
    ),
    "quarantine": Case(
        "SELECT relais_quarantine('erp', 'relais', NULL)",
        "backends",
        (("quarantine", {"backend": "held"}), ("pause", {"backend": "erp"})),
        ("quarantine", {"backend": "erp"}),
    ),
    "no rate": Case(
        "UPDATE backends SET rate = NULL WHERE name = 'erp'",
        "backends",
        (("rate", {"backend": "held"}),),
        ("rate", {"backend": "erp"}),
    ),
    "canary": Case(
        "UPDATE backends SET probe_at = now() WHERE name = 'erp'",
        "backends",
        (("pause", {"backend": "erp"}),),
        ("replay", {"ids": []}),
    ),
    "narrow": Case('UPDATE backends SET "window" = 1', "backends", (), ("replay", {"backend": "erp"})),
    "begin a replay": Case(
        "INSERT INTO replays (backend, choice, started_by) VALUES ('held', '{}', 'alice')",
        "replays",
        (("replay", {"backend": "erp", "replay": NEXT}), ("replay", {"backend": "held", "replay": 7})),
        ("replay", {"backend": "held", "replay": NEXT}),
    ),
    "hurry a replay": Case(
        "UPDATE replays SET stage = 0",
        "replays",
        (("replay next", {"backend": "erp", "replay": 8}), ("rate", {"backend": "erp", "replay": 7})),
        ("replay next", {"backend": "erp", "replay": 7}),
    ),
    "reconcile": Case(
        "INSERT INTO reconciliations (backend, since, until, started_by, cursor_at, cursor_id) "
        "VALUES ('held', now(), now(), 'alice', now(), gen_random_uuid())",
        "reconciliations",
        (("reconcile", {"backend": "held", "reconciliation": 7}),),
        ("reconcile", {"backend": "held", "reconciliation": NEXT}),
    ),
    "move a webhook": Case(
        "UPDATE webhooks SET url = 'https://mallory.example/'",
        "webhooks",
        (("webhook move", {"client": "other"}), ("client change", {"client": "front"})),
        ("webhook move", {"client": "front"}),
        OPS,
    ),
    "add a webhook": Case(
        "INSERT INTO webhooks (client, url, secrets) VALUES ('back', 'https://mallory.example/', '{}')",
        "webhooks",
        (("webhook add", {"client": "front"}),),
        ("webhook add", {"client": "back"}),
        OPS,
    ),
    "remove a webhook": Case(
        "DELETE FROM webhooks",
        "webhooks",
        (("webhook remove", {"client": "back"}),),
        ("webhook remove", {"client": "front"}),
        OPS,
    ),
    "tell nobody": Case(
        "UPDATE notices SET due_at = 'infinity'",
        "notices",
        (("webhook add", {"client": "front"}),),
        ("webhook enable", {"client": "front"}),
        OPS,
    ),
    "drop what was set aside": Case(
        "DELETE FROM asides", "asides", (("spill readmit", {}),), ("spill drop", {"records": 1}), OPS
    ),
    "map a code": Case(
        "INSERT INTO mappings (backend, version, kind, code, target) VALUES ('erp', 1, 'pharmacy', 'P1', 'C1')",
        "mappings",
        (("replay", {"backend": "erp"}),),
        ("mapping import", {"backend": "erp"}),
        OPS,
    ),
}


@pytest.fixture(scope="module")
def owner_url(postgres: Postgres, journals: Journals) -> Iterator[str]:
    """A journal that the tests of this module share: what is done in it is undone."""
    name = journals.take()
    url = postgres.database_url(name)
    asyncio.run(execute(url, *SEED))
    yield url
    journals.give_back(name)


async def record(connection: Any, act: Act) -> None:
    told = "INSERT INTO operations (operator, act, detail) VALUES ('mallory', $1, $2)"
    await connection.execute(told, act[0], json.dumps(act[1]))


async def refusal(owner_url: str, who: str, statement: str, act: Act | None) -> str | None:
    """What PostgreSQL says when a login does that with this act in its transaction; None when it lets it pass."""
    await execute(owner_url, NUMBERED)
    connection = await asyncpg.connect(login(owner_url, who))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
        if act is not None:
            await record(connection, act)
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.PostgresError as error:
        return str(error)
    finally:
        await transaction.rollback()
        await connection.close()
    return None


@pytest.mark.parametrize("name", CASES)
def test_what_an_operators_process_changes_has_an_act_that_names_it(owner_url: str, name: str, run: Run) -> None:
    case = CASES[name]
    told = f"a change of {case.table} that no act records"
    for who in case.who:
        for act in (None, *case.wrong):
            assert run(refusal(owner_url, who, case.statement, act)) == told, (who, act)
        if case.right is not None:
            assert run(refusal(owner_url, who, case.statement, case.right)) is None, who


@pytest.mark.parametrize("name", CASES)
def test_nobody_else_but_a_worker_may(owner_url: str, name: str, run: Run) -> None:
    case = CASES[name]
    for who in {"api", "exporter", "audit", *BOTH} - {*case.who}:
        if (name, who) != ("readmit", "api"):  # which takes orders
            assert "permission denied" in (run(refusal(owner_url, who, case.statement, None)) or ""), who


def test_an_act_may_come_first(owner_url: str, run: Run) -> None:
    async def first() -> None:
        connection = await asyncpg.connect(login(owner_url, "ops"))
        transaction = connection.transaction()
        await transaction.start()
        await record(connection, ("orders cancel", {"ids": [ONE]}))
        await connection.execute(CANCEL)
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await transaction.rollback()
        await connection.close()

    run(first())


def test_an_act_of_another_transaction_does_not_count(owner_url: str, run: Run) -> None:
    act = "INSERT INTO operations (operator, act, detail) VALUES ('mallory', 'order cancel', '{{\"order\": \"{}\"}}')"
    run(execute(login(owner_url, "ops"), act.format(ONE)))
    assert run(refusal(owner_url, "ops", CANCEL, None)) == "a change of deliveries that no act records"


def test_an_operators_process_makes_no_window_wider(owner_url: str, run: Run) -> None:
    wider = "UPDATE backends SET \"window\" = 51 WHERE name = 'erp'"
    assert run(refusal(owner_url, "console", wider, ("replay", {"backend": "erp"}))) == "backends keeps what it has"


async def kept(owner_url: str, who: str, statement: str, act: Act | None) -> list[tuple[str, str, Any]]:
    """What `changes` keeps of it: login, table, content; undone."""
    connection = await asyncpg.connect(login(owner_url, who))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
        if act is not None:
            await record(connection, act)
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        rows = await connection.fetch("SELECT login, source, content FROM changes WHERE tx = relais_tx() ORDER BY id")
        return [(row["login"], row["source"], json.loads(row["content"])) for row in rows]
    finally:
        await transaction.rollback()
        await connection.close()


def test_a_release_names_its_backend_whatever_it_is_told(owner_url: str, run: Run) -> None:
    async def released() -> str:
        connection = await asyncpg.connect(login(owner_url, "ops"))
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT relais_quarantine('erp', 'relais', NULL)")
        number = await connection.fetchval("SELECT relais_release('erp', 'mallory', 'why', '{\"backend\": \"held\"}')")
        detail = await connection.fetchval("SELECT detail FROM operations WHERE id = $1", number)
        await transaction.rollback()
        await connection.close()
        return str(detail)

    assert json.loads(run(released())) == {"backend": "erp"}


def test_the_journal_keeps_which_login_moved_which_orders(owner_url: str, run: Run) -> None:
    """Whatever name the act bears; of a replay's turns only how many."""
    cancelled = kept(owner_url, "console", CANCEL, ("order cancel", {"order": ONE}))
    assert run(cancelled) == [("relais_console", "deliveries", {"act": "cancel", "orders": 1, "ids": [ONE]})]
    turned = kept(owner_url, "ops", "UPDATE deliveries SET turn = 1", ("replay", {"backend": "erp"}))
    assert run(turned) == [("relais_ops", "deliveries", {"act": "replay", "orders": 4, "backend": "erp"})]


def test_of_what_a_worker_does_nothing_is_kept(owner_url: str, run: Run) -> None:
    """Nothing is asked of it but who it is."""
    worked = kept(owner_url, "worker", moving(ONE, "state = 'dispatched', due_at = 'infinity'"), None)
    assert run(worked) == []
    assert run(kept(owner_url, "worker", "UPDATE backends SET circuit = 'open', \"window\" = 99", None)) == []
    assert run(kept(owner_url, "worker", "SELECT relais_quarantine('erp', 'relais', NULL)", None)) == []
