"""Causes: what differs from order to order is left out, every way to die has one, and the counts are naive SQL's."""

import asyncio
import re
from collections.abc import Callable, Iterator

import asyncpg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.embedded.postgres import Postgres
from orders.schema.cause_triggers import MOST_WORDS
from tests.machines.journals import Journals
from workers.erp.failures import TABLE

ERRORS = [
    ("refused: product 3400930000007 unknown", "refused: product # unknown"),
    ("RUPTURE: CIP 3400937318044, dépôt Nîmes", "RUPTURE: CIP #, dépôt Nîmes"),
    ("lines.3.product: not in the catalogue", "lines.#.product: not in the catalogue"),
    (
        "lines.1.product: not in the catalogue; lines.12.product: not in the catalogue; pharmacy: not in the register",
        "lines.#.product: not in the catalogue; pharmacy: not in the register",
    ),
    (
        "pharmacy: b; lines.2.quantity: more than the 99 that one order may ask for",
        "lines.#.quantity: more than the # that one order may ask for; pharmacy: b",
    ),
    ("order 0199a2b4-7c11-7def-8abc-0123456789ab of 2026-11-24T21:05:33.120Z", "order # of #"),
    ("customer 'DUPONT Jean' is blocked", "customer # is blocked"),
    ('customer "DUPONT  Jean" is\t blocked', "customer # is blocked"),
    ("l'article n'existe pas", "l'article n'existe pas"),
    ("article « Doliprane » inconnu de l'ERP", "article # inconnu de l'ERP"),
    ("another certificate than the pinned one: deadbeef00ff", "another certificate than the pinned one: #"),
    ("HTTP/1.1 503 (12,50 %)", "HTTP/# (# %)"),
    ("prix 12.50, 13.50, 14.50 EUR", "prix # EUR"),
    ("", ""),
]


@pytest.fixture(scope="module")
def message(postgres: Postgres, journals: Journals) -> Iterator[Callable[[str | None], str]]:
    """`relais_cause_message` of a journal that nobody writes to."""
    loop, name = asyncio.new_event_loop(), journals.take()
    connection = loop.run_until_complete(asyncpg.connect(postgres.database_url(name)))
    yield lambda words: loop.run_until_complete(connection.fetchval("SELECT relais_cause_message($1)", words))
    loop.run_until_complete(connection.close())
    loop.close()
    journals.give_back(name)


@pytest.mark.parametrize(("error", "said"), ERRORS)
def test_what_differs_from_order_to_order_is_left_out(
    message: Callable[[str | None], str], error: str, said: str
) -> None:
    assert message(error) == said


def test_the_connectors_own_words_stay_readable(message: Callable[[str | None], str]) -> None:
    for failure in TABLE.values():
        assert message(failure.says) == failure.says


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=700)
QUOTING = st.text("'\"«»`; a1#-…é.\t", max_size=60)
FAULTS = st.lists(st.text("ab '1;", max_size=200), max_size=12).map("; ".join)


@given(WORDS | QUOTING | FAULTS)
@example("'a 'b' c'")
@example("x'y; 'a; x'y; b'")
@example("a" * 400 + " 'b'")
@example("x " * 148 + "'abc'def" * 30)
@settings(max_examples=400, deadline=None)
def test_a_message_is_bounded_has_no_digits_and_stays_itself(message: Callable[[str | None], str], words: str) -> None:
    said = message(words)
    assert len(said) <= MOST_WORDS
    assert not re.search("[0-9]", said)
    assert message(said) == said


def test_no_error_is_a_message_too(message: Callable[[str | None], str]) -> None:
    assert message(None) == ""
