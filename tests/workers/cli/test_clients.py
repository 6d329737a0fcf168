"""`relais client` on a real journal: keys made, changed, renewed and revoked, each act recorded with what it did."""

import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from orders.access.clients import NO_LIMIT
from tests.cli import CommandLine, environment
from tests.journal import Journal


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(settings))


@pytest.fixture
def journal(database_url: str) -> Journal:
    return Journal(database_url)


def listed(relais: CommandLine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(relais("client", "list", "--json").out)
    return found


def acts(journal: Journal) -> list[tuple[str, dict[str, Any]]]:
    return [(row.act, row.detail) for row in journal.sql("SELECT act, detail FROM operations ORDER BY id")]


def seconds_left(journal: Journal, client: str) -> list[float | None]:
    rows = journal.sql(
        "SELECT extract(epoch FROM expires_at - now())::float8 AS left FROM keys WHERE client = :client "
        "ORDER BY created_at",
        client=client,
    )
    return [row.left for row in rows]


def test_a_client_is_added_listed_and_revoked_and_each_act_is_recorded(relais: CommandLine, journal: Journal) -> None:
    key = json.loads(relais("client", "add", "front", "--json").out)["key"]
    plain = relais("client", "add", "other")
    assert (key[:7], plain.out[:7], len(plain.out.split()), "once" in plain.err) == ("relais_", "relais_", 1, True)
    assert relais("client", "add", "front").code == 1
    assert relais("client", "revoke", "front").code == 0
    assert relais("client", "revoke", "front").code == 1
    assert relais("client", "revoke", "nobody").code == 1
    assert relais("client", "rotate", "front").code == 1  # what was revoked is not given again
    rows = listed(relais)
    assert [(row["client"], row["expires_at"] is None) for row in rows] == [("front", False), ("other", True)]
    assert rows[1] | {"key": "", "created_at": ""} == {
        "client": "other",
        "key": "",
        "scopes": ["orders:write", "orders:read"],
        "created_at": "",
        "expires_at": None,
        "last_used_at": None,
        "pharmacies": None,
        "rate": None,
        "burst": None,
    }
    assert [act for act, _ in acts(journal)] == ["client add", "client add", "client revoke"]
    assert acts(journal)[0][1] == {
        "client": "front",
        "scopes": ["orders:write", "orders:read"],
        "pharmacies": None,
        "rate": None,
        "burst": None,
    }
    everything = relais("client", "list").out + json.dumps(rows) + str(journal.sql("SELECT * FROM operations"))
    assert key not in everything
    assert plain.out.strip() not in everything


def test_what_a_client_may_is_said_when_it_is_added(relais: CommandLine, tmp_path: Path) -> None:
    register = tmp_path / "pharmacies.csv"
    register.write_text("name;pharmacy\nA;P1\nB;P2\n")
    done = relais(
        "client",
        "add",
        "front",
        "--scope",
        "ops",
        "--scope",
        "orders:read",
        "--pharmacy",
        "P3",
        "--pharmacy",
        "P1",
        "--pharmacies",
        str(register),
        "--rate",
        "2.5",
        "--burst",
        "40",
    )
    assert done.code == 0
    [row] = listed(relais)
    assert (row["scopes"], row["pharmacies"]) == (["ops", "orders:read"], ["P1", "P2", "P3"])
    assert (row["rate"], row["burst"]) == (2.5, 40)
    table = relais("client", "list").out
    assert ("2.5/s, 40 at once" in table, row["key"] in table, "P1" in table) == (True, True, False)


@pytest.mark.parametrize(
    "wrong",
    [
        ["no spaces"],
        ["front", "--scope", "all"],
        ["front", "--rate", "0"],
        ["front", "--rate", "nan"],
        ["front", "--rate", "-1"],
        ["front", "--rate", "inf"],
        ["front", "--burst", "0"],
        ["front", "--burst", "9" * 12],
        ["front", "--pharmacy", "a b"],
        ["front", "--pharmacies", "/nowhere.csv"],
        ["front", "--pharmacies", "EMPTY"],
    ],
)
def test_a_client_that_makes_no_sense_is_not_added(
    relais: CommandLine, journal: Journal, tmp_path: Path, wrong: list[str]
) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("pharmacy\n")
    done = relais("client", "add", *(word.replace("EMPTY", str(empty)) for word in wrong))
    assert (done.code, done.out, "internal" in done.err) == (2, "", False)
    assert (listed(relais), journal.operations()) == ([], [])


def test_a_client_is_changed_and_back_again_and_what_is_not_named_stays(relais: CommandLine, journal: Journal) -> None:
    relais("client", "add", "front", "--rate", "5")
    relais("client", "add", "other", "--rate", "5")
    key = listed(relais)[0]["key"]
    assert relais("client", "change", "front", "--pharmacy", "P1", "--burst", "30", "--scope", "orders:read").code == 0
    changed = listed(relais)[0]
    assert (changed["pharmacies"], changed["rate"], changed["burst"]) == (["P1"], 5, 30)
    assert (changed["scopes"], changed["key"]) == (["orders:read"], key)
    assert relais("client", "change", "front", "--any-pharmacy", "--rate", "default", "--burst", "default").code == 0
    back = listed(relais)[0]
    assert (back["pharmacies"], back["rate"], back["burst"], back["scopes"]) == (None, None, None, ["orders:read"])
    assert (listed(relais)[1]["rate"], listed(relais)[1]["scopes"]) == (5, ["orders:write", "orders:read"])
    assert relais("client", "change", "other", "--rate", "none").code == 0
    assert (listed(relais)[1]["rate"], "none" in relais("client", "list").out) == (NO_LIMIT, True)
    assert acts(journal)[2:] == [
        ("client change", {"client": "front", "pharmacies": 1, "burst": 30, "scopes": ["orders:read"]}),
        ("client change", {"client": "front", "pharmacies": None, "rate": None, "burst": None}),
        ("client change", {"client": "other", "rate": NO_LIMIT}),
    ]


def test_a_change_that_makes_no_sense_changes_nothing(relais: CommandLine, journal: Journal) -> None:
    relais("client", "add", "front")
    relais("client", "add", "gone")
    relais("client", "revoke", "gone")
    before = listed(relais)
    for code, words in [
        (2, ["front"]),
        (2, ["front", "--rate", "fast"]),
        (2, ["front", "--rate", "0"]),
        (2, ["front", "--burst", "x"]),
        (2, ["front", "--any-pharmacy", "--pharmacy", "P1"]),
        (2, ["front", "--scope", "none"]),
        (1, ["nobody", "--rate", "5"]),
        (1, ["nobody", "--scope", "ops"]),
        (1, ["gone", "--scope", "ops", "--rate", "5"]),
    ]:
        assert relais("client", "change", *words).code == code, words
    assert listed(relais) == before
    assert len(journal.operations()) == 3


def test_a_key_is_renewed_and_the_old_one_stays_in_force_for_the_overlap(relais: CommandLine, journal: Journal) -> None:
    first = relais("client", "add", "front", "--scope", "orders:write").out.strip()
    done = relais("client", "rotate", "front")
    second = done.out.strip()
    assert (done.code, second[:7], second == first) == (0, "relais_", False)
    [old, new] = seconds_left(journal, "front")
    assert (old is not None and 86_000 < old <= 86_400, new) == (True, None)
    assert [row["scopes"] for row in listed(relais)] == [["orders:write"]] * 2
    third = json.loads(relais("client", "rotate", "front", "--overlap", "10m", "--json").out)
    assert [entry["name"] for entry in third] == ["front"]
    left = seconds_left(journal, "front")
    assert [value and round(value, -2) for value in left] == [600, 600, None]
    assert relais("client", "rotate", "front", "--overlap", "1h").code == 0
    assert [value and round(value, -2) for value in seconds_left(journal, "front")][:2] == [600, 600]  # no longer
    assert [act for act in acts(journal) if act[0] == "client rotate"] == [
        ("client rotate", {"client": "front", "overlap": overlap}) for overlap in (86_400, 600, 3600)
    ]
    assert relais("client", "revoke", "front").code == 0
    assert all(value is not None and value <= 0 for value in seconds_left(journal, "front"))


def test_every_key_is_renewed_by_one_command(relais: CommandLine, journal: Journal) -> None:
    for name in ("c", "a", "b", "revoked"):
        relais("client", "add", name, "--rate", "3")
    relais("client", "revoke", "revoked")
    asked = relais("client", "rotate", "--all")
    assert (asked.code, "--yes" in asked.err, asked.out) == (2, True, "")
    done = relais("client", "rotate", "--all", "--yes", "--overlap", "0")
    [heading, *rows] = list(csv.reader(io.StringIO(done.out)))
    assert (done.code, heading, [name for name, _ in rows]) == (0, ["client", "key"], ["a", "b", "c"])
    assert len({key for _, key in rows}) == 3
    in_force = [row for row in listed(relais) if row["expires_at"] is None]
    assert [(row["client"], row["rate"]) for row in in_force] == [("a", 3), ("b", 3), ("c", 3)]
    assert [detail["client"] for act, detail in acts(journal) if act == "client rotate"] == ["a", "b", "c"]
    whole = json.loads(relais("client", "rotate", "--all", "--yes", "--json").out)
    assert [entry["name"] for entry in whole] == ["a", "b", "c"]


def test_a_rotation_that_makes_no_sense_renews_nothing(relais: CommandLine, journal: Journal) -> None:
    assert relais("client", "rotate", "--all", "--yes").code == 1  # nobody has a key
    relais("client", "add", "front")
    for code, words in [
        (2, []),
        (2, ["front", "--all"]),
        (2, ["front", "--overlap", "soon"]),
        (1, ["nobody"]),
    ]:
        done = relais("client", "rotate", *words)
        assert (done.code, done.out) == (code, ""), words
    assert (len(listed(relais)), seconds_left(journal, "front")) == (1, [None])


def test_times_are_listed_as_such(relais: CommandLine) -> None:
    relais("client", "add", "front")
    relais("client", "rotate", "front", "--overlap", "1h")
    old, new = listed(relais)
    expires, created = datetime.fromisoformat(old["expires_at"]), datetime.fromisoformat(new["created_at"])
    assert expires - created == timedelta(hours=1)
