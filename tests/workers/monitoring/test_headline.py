"""The headline: the worst thing that is true stands first, in English and in French, and only then all is well."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orders.sentences import Code, Sentence
from workers.console.i18n import languages
from workers.console.masking import say
from workers.monitoring.headline import Facts, Grade, JournalFacts, headlines

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=8)
FRENCH = languages("UTC")["fr"]


def backend(**fields: Any) -> dict[str, Any]:
    plain = {"name": "erp", "circuit": "closed", "paused": False, "quarantined": False, "why": None, "held_why": None}
    more = {"probe_at": NOW, "since": SINCE, "canary_due": False, "quarantined_at": SINCE, "quarantined_by": "luc"}
    more |= {"failing_since": None, "failures": 0, "set_aside": None, "set_aside_at": None}
    return plain | more | fields


def waiting(orders: int = 2235, since: datetime = SINCE, **fields: Any) -> dict[str, Any]:
    return {"state": "accepted", "priority": "normal", "orders": orders, "oldest": since} | fields


WELL = JournalFacts(NOW, True, [backend()], [], [], 0, 0, [], [], 0, None)
QUARANTINED = backend(quarantined=True, held_why=Sentence(Code.TEXT, text="odd receipts"))
PAUSED = backend(paused=True, held_why=Sentence(Code.TEXT, text="stocktaking"))
DOWN = backend(circuit="open", why=Sentence(Code.FAILURES))


def journal(**fields: Any) -> Facts:
    return Facts(replace(WELL, **fields), mode="journal")


def told(known: Facts) -> list[tuple[str, str]]:
    return [(each.grade, str(each.text)) for each in headlines(known)]


@pytest.mark.parametrize(
    ("known", "grade", "english", "french"),
    [
        (journal(), "good", "All is well: orders flow to every backend", "Tout va bien"),
        (journal(backlog=[waiting(since=NOW - timedelta(seconds=59))]), "good", "All is well", "Tout va bien"),
        (journal(backlog=[waiting(state="submitted")]), "good", "All is well", "Tout va bien"),
        (journal(overdue=[{"backend": "erp", "orders": 0, "oldest": None}]), "good", "All is well", "Tout va bien"),
        (
            journal(overdue=[{"backend": "erp", "orders": 2, "oldest": SINCE}]),
            "warn",
            "erp owes its decision on 2 orders, the oldest sent at 2026-01-05 11:52:00Z",
            "erp doit sa décision sur 2 commandes, la plus ancienne envoyée le",
        ),
        (
            journal(unmapped=[{"backend": "erp", "orders": 5, "codes": 1, "whole": True}]),
            "warn",
            "1 code is not mapped for erp; dead letters for want of it: 5",
            "1 code n'a pas de correspondance pour erp",
        ),
        (
            journal(unmapped=[{"backend": "erp", "orders": 1000, "codes": 3, "whole": False}]),
            "warn",
            "at least 3 codes are not mapped for erp; dead letters for want of them: at least 1,000",
            "au moins 3 codes n'ont pas de correspondance pour erp",
        ),
        (journal(backends=[backend(set_aside=0, set_aside_at=SINCE)]), "good", "All is well", "Tout va bien"),
        (
            journal(backends=[backend(set_aside=2, set_aside_at=SINCE)]),
            "warn",
            "2 unread answers of erp set aside",
            "2 réponses illisibles de erp mises de côté",
        ),
        (
            journal(backlog=[waiting()]),
            "warn",
            "2,235 orders wait, the oldest since 2026-01-05 11:52:00Z",
            "2\u202f235 commandes attendent, la plus ancienne depuis",
        ),
        (
            journal(backlog=[waiting(since=NOW - timedelta(minutes=16), priority="urgent", orders=1)]),
            "bad",
            "1 order waits since 2026-01-05 11:44:00Z",
            "1 commande attend depuis",
        ),
        (journal(dead=240), "warn", "240 dead letters need a person", "240 commandes en souffrance attendent"),
        (
            journal(dead=1, conflicts=1),
            "bad",
            "1 order was answered 202, and another order has its place",
            "1 commande",
        ),
        (
            journal(backends=[QUARANTINED]),
            "bad",
            "erp is in quarantine since 2026-01-05 11:52:00Z by luc: odd receipts",
            "erp est en quarantaine depuis",
        ),
        (
            journal(backends=[backend(failing_since=SINCE, failures=1)]),
            "warn",
            "erp: 1 attempt failed since 2026-01-05 11:52:00Z, and no order was answered",
            "erp\u202f: 1 tentative a échoué depuis",
        ),
        (journal(backends=[PAUSED]), "warn", "erp is paused: stocktaking", "erp est en pause : stocktaking"),
        (
            journal(backends=[DOWN]),
            "bad",
            "erp: the circuit is open since 2026-01-05 11:52:00Z: failures in a row; next canary at 12:00:00Z",
            "erp : le circuit est ouvert depuis",
        ),
        (journal(leading=False), "bad", "Nobody works: orders wait for a worker", "Personne ne travaille"),
        (
            journal(workers=[{"name": "w@here", "age": 1.0, "deaf_since": SINCE}]),
            "bad",
            "w@here takes no orders since 2026-01-05 11:52:00Z, though some wait: it is to be restarted",
            "w@here ne prend aucune commande depuis",
        ),
        (
            journal(workers=[{"name": "w@here", "age": 480.0, "deaf_since": None}]),
            "bad",
            "1 worker has answered no canary since 2026-01-05 11:52:00Z",
            "1 worker ne répond plus aux essais depuis",
        ),
        (journal(faults=2), "bad", "The last audit found 2 faults", "Le dernier audit a trouvé 2 anomalies"),
        (
            Facts(None, journal_up=False, journal_since=SINCE, mode="spill", spilled=37),
            "bad",
            "PostgreSQL has not answered since 2026-01-05 11:52:00Z: orders are taken in and wait in Redis, nothing is "
            "forwarded",
            "PostgreSQL ne répond plus depuis",
        ),
        (
            Facts(None, journal_up=False, mode="refusing", memory=1.0),
            "bad",
            "Orders are refused: PostgreSQL is away and Redis is full",
            "Les commandes sont refusées : PostgreSQL est injoignable et Redis est plein",
        ),
        (Facts(WELL, redis_up=False, mode="journal"), "bad", "Redis has not answered: without it nothing", "Redis ne"),
        (
            Facts(WELL, intake_up=False, intake_silent=True, intake_since=SINCE),
            "warn",
            "Whether the intake takes orders is not known since 2026-01-05 11:52:00Z: it does not answer in time",
            "On ne sait pas depuis",
        ),
        (Facts(WELL, intake_up=False), "bad", "Nobody takes orders at the intake's address: no order", "Personne"),
        (Facts(None), "quiet", "Nothing is known yet", "On ne sait encore rien"),
    ],
)
def test_the_first_sentence(known: Facts, grade: str, english: str, french: str) -> None:
    first = headlines(known)[0]
    assert (str(first.grade), str(first.text)[: len(english)]) == (grade, english)
    assert (
        say(first.text, FRENCH)
        .replace("\N{NARROW NO-BREAK SPACE}", " ")
        .startswith(french.replace("\N{NARROW NO-BREAK SPACE}", " "))
    )


def test_the_worst_stands_first_and_nothing_is_left_out() -> None:
    """Full spill, silent journal, quarantine, deaf worker, circuit, pause, waiting orders, dead letters."""
    everything = replace(
        WELL,
        backends=[QUARANTINED | {"name": "main"}, PAUSED | {"name": "spare"}, DOWN | {"name": "third"}],
        backlog=[waiting()],
        dead=240,
        workers=[{"name": "w@here", "age": 1.0, "deaf_since": SINCE}],
    )
    begins = [text.split(" since")[0].split(": ")[0] for _, text in told(Facts(everything, mode="journal", memory=0.7))]
    assert begins == [
        "main is in quarantine",
        "w@here takes no orders",
        "third",
        "spare is paused",
        "2,235 orders wait, the oldest",
        "240 dead letters need a person",
        "Redis uses 70% of its memory",
    ]
    away = Facts(everything, journal_up=False, mode="refusing", memory=1.0, redis_up=False)
    assert [text.split(":")[0] for _, text in told(away)] == [
        "Orders are refused",
        "PostgreSQL has not answered",
        "Redis has not answered",
        "main is in quarantine since 2026-01-05 11",
        "spare is paused",
    ], "what flows is not known then; what is latched is"


def test_all_is_well_is_never_said_beside_anything_else() -> None:
    for known in (journal(dead=1), journal(weak=[Sentence(Code.FSYNC_OFF)]), journal(backlog=[waiting()])):
        assert Grade.GOOD not in {each.grade for each in headlines(known)}
