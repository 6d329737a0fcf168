"""What an operator reads and does through `relais`, on a real journal and a real Valkey."""

import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from config.embedded.postgres import Postgres
from config.settings import Settings
from config.telemetry.visible import HIDING
from orders.queries import orders as order_queries
from orders.states import CodeKind
from tests.cli import CommandLine, environment
from tests.journal import Journal
from workers.cli.commands.recovery import drain
from workers.cli.watch.orders import drained
from workers.erp.outcomes import LEASE_EXPIRED
from workers.erp.port import Kind
from workers.monitoring import throughput
from workers.proof.report.incident import SERIES
from workers.replay.controller import FIGURES

MEDICINE = "3400937318044"
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(settings))


def test_status_counts_and_says_what_is_missing(relais: CommandLine, journal: Journal) -> None:
    journal.accept(3)
    done = relais("status", "--json")
    found = json.loads(done.out)
    assert (done.code, found["api"]["ready"]) == (1, False), "no intake runs here"
    assert (found["backlog"], found["orders"]["accepted"]) == (3, 3)
    assert [each["text"] for each in found["headline"]] == [
        "Nobody takes orders at the intake's address: no order comes in there",
        "No worker has ever run here: orders wait",
        *found["weak"],
    ]
    assert relais("status").out.startswith("Nobody takes orders at the intake's address")
    assert (found["queue"]["reachable"], found["leader"], found["api"]["ready"]) == (True, False, False)
    assert found["flow"]["accepted"] == 3
    assert relais("status", "--check").code == 1
    gone = relais("status", "--json", RELAIS_REDIS_URL="redis://127.0.0.1:1/0")
    assert (gone.code, json.loads(gone.out)["queue"]["reachable"]) == (1, False)
    assert "out of reach" in relais("status", RELAIS_REDIS_URL="redis://127.0.0.1:1/0").out


def test_status_says_what_an_erp_owes_what_it_has_no_name_for_and_what_is_promised(
    relais: CommandLine, journal: Journal
) -> None:
    late, soon, unknown, *unmapped = journal.accept(5)
    journal.owe(late, soon, unknown)
    journal.bury(unmapped, "unmapped")
    journal.not_mapped((CodeKind.PHARMACY, "P1"), (CodeKind.PRODUCT, "1"))
    found = json.loads(relais("status", "--json").out)
    (backend,) = found["backends"]
    assert (backend["overdue"], backend["unmapped"], backend["unmapped_codes"]) == (2, 2, 2)
    told = relais("status", COLUMNS="400").out
    assert "owes its decision on 2 orders, the oldest sent " in told
    assert "2 dead letters, 2 codes not mapped: relais mapping coverage --backend erp" in told
    assert "at most one duplicate, detected" in told
    assert "2 codes are not mapped for erp; dead letters for want of them: 2" in [
        each["text"] for each in found["headline"]
    ]
    assert (backend["set_aside"], backend["set_aside_at"]) == (None, None), "nobody has looked"
    journal.sql("UPDATE backends SET set_aside = 2, set_aside_at = '2026-01-05T11:00:00Z'")
    seen = json.loads(relais("status", "--json").out)
    assert (seen["backends"][0]["set_aside"], seen["backends"][0]["set_aside_at"]) == (2, "2026-01-05T11:00:00Z")
    assert "2 unread answers of erp set aside" in [each["text"] for each in seen["headline"]]
    assert "2 unread answers set aside, as seen 2026-01-05" in relais("status", COLUMNS="400").out
    journal.sql("UPDATE backends SET unique_reference = true, ack_within = NULL, set_aside = 0")
    assert "set aside" not in relais("status").out
    assert "owes" not in relais("status").out
    assert "duplicate" not in relais("status").out


def test_the_flow_of_the_last_minute_is_read_from_the_newest_pages(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    journal.sql(
        "INSERT INTO attempts SELECT gen_random_uuid(), gen_random_uuid(), now(), "
        "now() - make_interval(secs => (10000 - n) * 0.01), CASE n % 2 WHEN 0 THEN 'accepted' ELSE 'transient' END, "
        "200, '', 'w' FROM generate_series(1, 10000) n"
    )
    whole = journal(throughput.flow)
    assert whole.seconds == 60
    assert 2900 - 50 * (time.monotonic() - began) < whole.delivered < 3100
    monkeypatch.setattr(throughput, "TAIL", 10)
    part = journal(throughput.flow)
    passed = time.monotonic() - began  # in which no order came, however slow this machine is
    assert 0 < part.delivered < 1000
    assert part.delivered / part.seconds < 55
    assert part.delivered / (part.seconds - passed) > 45


def test_a_refusal_is_an_answer_wherever_attempts_are_counted(journal: Journal) -> None:
    tried = [*(set(Kind) - {Kind.UNSENT, Kind.ABSENT}), LEASE_EXPIRED]
    journal.sql(
        "INSERT INTO attempts SELECT gen_random_uuid(), gen_random_uuid(), now(), now(), outcome, 200, '', 'w' "
        "FROM unnest(CAST(:tried AS text[])) AS u (outcome)",
        tried=tried,
    )
    flow = journal(throughput.flow)
    (reported,) = journal.sql(
        str(SERIES["failed"]), since=EPOCH, until=datetime.now(UTC) + timedelta(minutes=1), width=10**10
    )
    (judged,) = journal.sql(f"WITH tried AS (SELECT * FROM attempts) {FIGURES}")
    assert (flow.delivered, judged.delivered, judged.answered, judged.refused) == (2, 2, 4, 1)
    assert flow.failed == reported.count == judged.failed == len(tried) - 4


def test_the_backlog_tells_ages(relais: CommandLine, journal: Journal) -> None:
    journal.accept(2)
    journal.accept(1, priority="urgent", cut_off="2036-01-05T12:00:00Z")
    found = json.loads(relais("backlog", "--json").out)
    assert found["orders"] == 3
    assert [(row["priority"], row["orders"]) for row in found["backlog"]] == [("urgent", 1), ("normal", 2)]
    assert all(0 <= row["age"] < 60 for row in found["backlog"])
    assert "2036-01-05 12:00:00Z" in relais("backlog").out


def test_an_order_is_shown_by_id_and_by_reference_without_its_note(relais: CommandLine, journal: Journal) -> None:
    [order_id] = journal.accept(1, reference="R-[red]1", note="for Mme Durand")
    table = relais("order", "show", str(order_id))
    assert (table.code, "R-[red]1" in table.out, "Durand" in table.out) == (0, True, False)
    whole = json.loads(relais("order", "show", "--pharmacy", "P1", "--reference", "R-[red]1", "--json").out)
    assert (whole["id"], whole["order"]["note"]) == (str(order_id), "for Mme Durand")
    assert relais("order", "show", str(uuid4())).code == 1
    assert relais("order", "show", "--pharmacy", "P1").code == 2
    assert relais("order", "show", "17").code == 2


def test_what_the_erp_delivers_otherwise_is_shown(relais: CommandLine, journal: Journal) -> None:
    [order_id] = journal.accept(1)
    line = {"line": 1, "product": MEDICINE, "accepted": 1, "reason": None}

    def answered(**more: object) -> None:
        journal.sql(
            "INSERT INTO receipts (order_id, lease, backend, reference, lines) "
            "VALUES (:id, gen_random_uuid(), 'erp', 'E-1', CAST(:lines AS jsonb))",
            id=order_id,
            lines=json.dumps([{**line, **more}]),
        )

    answered()
    assert "substitute" not in relais("order", "show", str(order_id)).out
    more = {"substitute": "3400938615470", "back_ordered": 2, "expected": "2026-01-07"}
    answered(**more)
    table = relais("order", "show", str(order_id)).out
    headings = next(each for each in table.splitlines() if "back ordered" in each)
    assert headings.split() == [
        "line",
        "product",
        "quantity",
        "accepted",
        "why",
        "substitute",
        "back",
        "ordered",
        "expected",
    ]
    assert {"3400938615470", "2026-01-07"} <= {*table.split()}
    told = json.loads(relais("order", "show", str(order_id), "--json").out)["receipt"]["lines"]
    assert told == [{**line, **more}]


def test_a_replay_is_previewed_and_asks(relais: CommandLine, journal: Journal) -> None:
    journal.accept(3)
    later = "UPDATE deliveries SET due_at = now() + interval '1 hour'"
    journal.sql(later)
    dry = relais("replay", "--dry-run", "--json")
    assert (dry.code, json.loads(dry.out)["preview"]["orders"]) == (0, 3)
    unasked = relais("replay", "--because", "a test", "--no-wait")
    assert (unasked.code, "--yes" in unasked.err, "3" in unasked.out) == (2, True, True)
    assert journal.operations() == []
    done = relais("replay", "--no-wait", "--yes", "--because", "the ERP is back", "--pharmacy", "P1", "--json")
    assert (done.code, json.loads(done.out)["replayed"]) == (0, 3)
    assert journal.operations() == [("replay", "the ERP is back")]
    assert journal.sql("SELECT count(*) FROM deliveries WHERE due_at <= now()")[0][0] == 3
    assert json.loads(relais("replay", "--because", "a test", "--yes", "--older", "1h", "--json").out)["replayed"] == 0
    assert relais("replay", "--older", "soon").code == 2
    assert relais("replay", "--priority", "high").code == 2


def test_dead_letters_are_listed_shown_replayed_and_discarded(relais: CommandLine, journal: Journal) -> None:
    alive, first, second, third = journal.accept(4)
    journal.bury([first, second], "refused")
    journal.bury([third], "exhausted")
    assert [row["id"] for row in json.loads(relais("dead", "list", "--json").out)] == [
        str(order_id) for order_id in sorted([first, second, third])
    ]
    assert len(json.loads(relais("dead", "list", "--reason", "refused", "--json").out)) == 2
    assert len(json.loads(relais("dead", "list", "--limit", "1", "--json").out)) == 1
    assert json.loads(relais("dead", "show", str(first), "--json").out)["reason"] == "refused"
    assert relais("dead", "show", str(alive)).code == 1
    assert relais("dead", "replay", "--because", "a test", "--yes").code == 2
    assert relais("dead", "discard", str(first), "--yes").code == 2  # no reason given
    refused = relais("dead", "discard", str(first), str(alive), "--because", "by phone", "--yes")
    assert (refused.code, "only 1 of 2" in refused.err) == (1, True)
    done = relais("dead", "discard", str(first), "--because", "by phone", "--yes", "--json")
    assert (done.code, json.loads(done.out)["discarded"]) == (0, 1)
    again = relais("dead", "replay", "--because", "a test", "--reason", "refused", "--yes", "--no-wait", "--json")
    assert json.loads(again.out)["replayed"] == 1
    assert relais("dead", "replay", "--because", "a test", "--all", "--yes", "--no-wait").code == 0
    assert journal.operations() == [("discard", "by phone"), ("replay", "a test"), ("replay", "a test")]
    states = journal.sql("SELECT order_id, state FROM deliveries")
    assert {row.order_id: row.state for row in states} == {
        alive: "accepted",
        first: "discarded",
        second: "accepted",
        third: "accepted",
    }


def test_dead_letters_are_chosen_by_their_cause(relais: CommandLine, journal: Journal) -> None:
    ids = journal.accept(4)
    journal.bury(ids[:3], "refused")
    journal.bury(ids[3:], "exhausted")
    found = json.loads(relais("dead", "groups", "--json").out)
    assert [(each["reason"], each["orders"], each["message"]) for each in found] == [
        ("refused", 3, "no"),
        ("exhausted", 1, "no"),
    ]
    assert [each["id"] for each in json.loads(relais("dead", "groups", "--reason", "exhausted", "--json").out)] == [
        found[1]["id"]
    ]
    assert json.loads(relais("dead", "groups", "--backend", "other", "--json").out) == []
    refused, exhausted = (str(each["id"]) for each in found)
    listed = json.loads(relais("dead", "list", "--cause", refused, "--json").out)
    assert {row["id"] for row in listed} == {str(order_id) for order_id in ids[:3]}
    assert relais("dead", "replay", "--because", "a test", "--all", "--cause", refused, "--yes").code == 2
    gone = relais("dead", "discard", "--cause", exhausted, "--because", "by phone", "--yes", "--json")
    assert json.loads(gone.out)["discarded"] == 1
    again = relais("dead", "replay", "--because", "a test", "--cause", refused, "--yes", "--no-wait", "--json")
    assert json.loads(again.out)["replayed"] == 3
    assert json.loads(relais("dead", "groups", "--json").out) == []


def test_a_drain_says_why_it_waits_and_gives_up_in_time(relais: CommandLine, journal: Journal) -> None:
    assert json.loads(relais("drain", "--json").out)["empty"] is True
    journal.accept(2)
    late = relais("drain", "--timeout", "1", "--json")
    assert (late.code, json.loads(late.out)["backlog"]) == (1, 2)
    assert "no worker" in late.err


def test_a_drain_starts_the_staged_replay_where_it_is_told_to_and_ends_where_it_holds(
    relais: CommandLine, journal: Journal
) -> None:
    journal.accept(3)
    alone = relais("drain", "--yes")
    assert (alone.code, "without it, drain only watches" in alone.err) == (2, True)
    assert "--because WHY" in relais("drain", "--replay", "--yes").err
    assert relais("drain", "--replay", "--because", "it is back").code == 2, "nobody can be asked"
    late = relais("drain", "--replay", "erp", "--because", "it is back", "--yes", "--timeout", "0.3", "--json")
    begun = json.loads(late.out)
    assert (late.code, begun["preview"]["orders"], begun["replay"], begun["backlog"]) == (1, 3, 1, 3)
    assert journal.operations() == [("replay", "it is back")]
    journal.sql("UPDATE replays SET state = 'holding', why = '\"too slow\"'")
    held = journal(lambda engine: drained(engine, timedelta(minutes=5), 1))
    assert (held["empty"], held["backlog"], held["state"], held["why"]) == (False, 3, "holding", "too slow")
    assert drain.sentence(held).endswith("The replay holds: too slow; `relais replay resume` tries again.")


def test_pause_and_resume_are_recorded_and_shown(relais: CommandLine, journal: Journal) -> None:
    assert relais("pause").code == 2
    assert relais("pause", "--because", "stocktaking").code == 0
    held = json.loads(relais("status", "--json").out)["backends"][0]
    assert (held["paused"], held["held"]) == (True, "erp is paused: stocktaking")
    journal.accept(1)
    assert "erp is paused: stocktaking" in relais("drain", "--timeout", "0.5").err
    assert relais("resume", "--because", "a test", "erp").code == 0
    assert relais("resume", "--because", "a test", "other").code == 1
    assert journal.operations() == [("pause", "stocktaking"), ("resume", "a test")]


def test_the_audit_balances_until_an_order_is_missing(relais: CommandLine, journal: Journal) -> None:
    journal.accept(3)
    sound = relais("audit", "--json")
    assert (sound.code, json.loads(sound.out)["balanced"], json.loads(sound.out)["backlog"]) == (0, True, 3)
    journal.sql("INSERT INTO orders VALUES (gen_random_uuid(), 'P2', 'R', 'b', 'd', now(), 'c')")
    unsound = relais("audit")
    assert (unsound.code, "DOES NOT BALANCE" in unsound.out) == (1, True)


def test_migrate_makes_the_tables_and_may_run_again(relais: CommandLine, postgres: Postgres, database_url: str) -> None:
    bare = relais("audit", RELAIS_DATABASE_URL=postgres.database_url("postgres"))
    assert (bare.code, "run `relais admin migrate`" in bare.err) == (2, True)
    assert relais("admin", "migrate").code == 0
    assert relais("audit").code == 0


def test_the_time_is_the_journal_s(journal: Journal) -> None:
    [order_id] = journal.accept(1)
    lowest = order_queries.first_id(datetime.now(UTC))
    assert order_queries.first_id(datetime(2026, 1, 1, tzinfo=UTC)) < order_id
    assert abs((lowest.int >> 80) - (order_id.int >> 80)) < 60_000


def test_a_replay_is_seen_and_steered(relais: CommandLine, journal: Journal) -> None:
    journal.accept(3)
    assert relais("replay", "pause", "--because", "a test", "--yes").code == 1
    begun = json.loads(
        relais("replay", "--because", "a test", "erp", "--stage-hold", "--yes", "--no-wait", "--json").out
    )
    assert (begun["replayed"], begun["replay"]) == (3, 1)
    second = relais("replay", "--because", "a test", "--yes", "--no-wait")
    assert (second.code, "is not over" in second.err) == (1, True)
    assert relais("replay", "--because", "a test", "nobody", "--yes").code == 0, "nothing to replay"
    unasked = relais("replay", "pause", "--because", "a test")
    assert (unasked.code, "--yes" in unasked.err, "stage 1" in unasked.out) == (2, True, True)
    assert relais("replay", "pause", "--because", "lunch", "--yes").code == 0
    [shown] = json.loads(relais("status", "--json").out)["replays"]
    assert (shown["state"], shown["left"], shown["held"]) == (
        "paused",
        3,
        "the replay of erp is paused at stage 1: lunch",
    )
    assert "lunch" in relais("status").out
    for words in (("status",), ("resume", "--because", "a test")):
        told = " ".join(relais("replay", *words).out.split())
        assert "goes on with stage 1: 1 order " in f"{told} ", "it waits for a word again after that"
    assert "the replay of erp is paused at stage 1: lunch" in relais("drain", "--timeout", "0.5").err
    assert relais("replay", "next", "--because", "a test", "--yes").code == 1
    assert relais("replay", "resume", "--because", "a test", "--yes").code == 0
    assert relais("replay", "hold", "--because", "a test", "--off", "--yes").code == 0
    assert relais("replay", "cancel", "--because", "another day", "--yes").code == 0
    [over] = json.loads(relais("replay", "status", "--json").out)
    assert (over["state"], over["hold"], over["why"]) == ("cancelled", False, "another day")
    assert journal.operations() == [
        ("replay", "a test"),
        ("replay pause", "lunch"),
        ("replay resume", "a test"),
        ("replay hold", "a test"),
        ("replay cancel", "another day"),
    ]


def test_a_rate_is_set_and_lifted(relais: CommandLine, journal: Journal) -> None:
    journal.accept(1)
    assert relais("rate", "erp", "12.5", "--because", "the ERP's people ask").code == 0
    assert json.loads(relais("status", "--json").out)["backends"][0]["rate"] == 12.5
    assert relais("rate", "--because", "a test", "off").code == 0
    assert json.loads(relais("status", "--json").out)["backends"][0]["rate"] is None
    assert relais("rate", "--because", "a test", "nobody", "5").code == 1
    assert [
        relais("rate", "--because", "a test", *words).code for words in (["fast"], ["0"], ["erp", "1", "2"], [])
    ] == [2, 2, 2, 2]
    assert journal.operations() == [("rate", "the ERP's people ask"), ("rate", "a test")]


def test_what_an_erp_or_an_operator_wrote_is_visible_wherever_a_person_looks(
    relais: CommandLine, journal: Journal
) -> None:
    evil = "\u202egnihton\x9b2J\u2066\x1b]0;x\x07\u2028\u200f"
    (order,) = journal.accept(1)
    journal.sql("INSERT INTO backends (name, \"window\") VALUES ('erp', 20)")
    journal.bury([order], "refused")
    journal.sql("UPDATE deliveries SET error = :evil, status = 422", evil=evil)
    journal.sql(
        "INSERT INTO attempts VALUES (:order, gen_random_uuid(), now(), now(), 'refused', 422, :evil, 'w')",
        order=order,
        evil=evil,
    )
    journal.sql(
        "INSERT INTO evidence (backend, lease, order_id, kind, conclusive, detail, answer) "
        "VALUES ('erp', gen_random_uuid(), :order, 'wrong_digest', true, :evil, :raw)",
        order=order,
        evil=evil,
        raw=evil.encode(),
    )
    assert relais("quarantine", "erp", "--because", evil).code == 2
    assert relais("quarantine", "erp", "--because", "an intrusion", RELAIS_OPERATOR=evil).code == 0
    journal.sql("UPDATE backends SET held_why = to_jsonb(CAST(:evil AS text))", evil=evil)
    again = relais("quarantine", "erp", "--because", "an intrusion")
    assert again.code == 1 and r"by \u202egnihton\x9b2J\u2066" in again.err
    shown = [again]
    for asked in (
        ("dead", "list"),
        ("dead", "groups"),
        ("dead", "show", str(order)),
        ("evidence", "erp"),
        ("status",),
        ("backlog",),
    ):
        shown += [relais(*asked), relais(*asked, "--json")]
        assert {each.code for each in shown[-2:]} == {int(asked == ("status",))}, "no intake runs here"
    told = [each.out + each.err for each in shown]
    assert [text for text in told if HIDING.search(text)] == []
    assert sum("gnihton" in text for text in told) >= 6
    tables = [each.out for each in shown[1:9:2]]
    assert ["gnihton" in text for text in tables] == [False] * 4, "an ERP's words may name a patient: masked in tables"
    (found,) = json.loads(relais("dead", "list", "--json").out)
    assert found["error"] == evil, "the document says the same"
