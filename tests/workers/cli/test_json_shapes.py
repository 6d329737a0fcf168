"""Every `--json` document is described field by field in docs/json.schema.json, and real ones fit."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from config.settings import Settings
from tests.cli import CommandLine, environment, whole_command
from tests.journal import Journal
from tests.workers.cli.json_shapes import DOCS, SCHEMAS, faults_of

ELSEWHERE = {"demo"}  # tests/acceptance/up/test_demo.py
BACKENDS = """
default = "erp"
[backends.erp]
url = "http://127.0.0.1:1"
[backends.fallback]
url = "http://127.0.0.1:1"
"""
KEY = "c2VhbC1rZXktb2YtdGhpcnR5LXR3by1ieXRlcy4uLi4="


def commands() -> Iterator[str]:
    """Every command that offers --json."""

    def walk(command: Any, name: str) -> Iterator[str]:
        if hasattr(command, "commands"):
            for word, inner in command.commands.items():
                yield from walk(inner, f"{name} {word}".strip())
        elif any("--json" in option.opts for option in command.params):
            yield name

    return walk(whole_command(), "")


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    backends = settings.files.data_dir / "backends.toml"
    backends.write_text(BACKENDS)
    env = {
        **environment(settings),
        "RELAIS_BACKENDS": str(backends),
        "RELAIS_SEAL_KEY": KEY,
        "RELAIS_FOUR_EYES": "1",
        "RELAIS_ANCHOR": str(settings.files.data_dir / "anchors"),
        "RELAIS_SPILL_KEY": "a spill key for tests",
        "RELAIS_API_URL": "http://127.0.0.1:1",
        "RELAIS_API_KEY": "relais_none",
        "RELAIS_OPERATOR": "alice",
        "RELAIS_WEBHOOK_PLAIN_HTTP": "1",
    }
    return CommandLine(capsys, env)


def live(relais: CommandLine, journal: Journal, tmp_path: Path) -> list[UUID]:
    """A journal in which something of everything has happened; the ids of its orders."""
    journal.sql("INSERT INTO backends (name, \"window\") VALUES ('erp', 50), ('fallback', 50)")
    cut_off = {"priority": "urgent", "cut_off": "2030-01-05T12:00:00Z", "note": "by the back door"}
    ids = [*journal.accept(6), *journal.accept(2, **cut_off)]
    journal.bury(ids[:1], "refused")
    journal.bury(ids[1:2], "exhausted")
    delivered = ids[2:4]
    for state in ("dispatched", "delivering", "delivered"):
        settled = ", settled_at = now()" if state == "delivered" else ""
        journal.sql(f"UPDATE deliveries SET state = '{state}'{settled} WHERE order_id = ANY(:ids)", ids=delivered)
    journal.sql(
        "INSERT INTO attempts SELECT id, gen_random_uuid(), now(), now(), 'accepted', 200, '', 'relais-7@here:8' "
        "FROM unnest(CAST(:ids AS uuid[])) AS id",
        ids=delivered,
    )
    journal.sql(
        "INSERT INTO receipts (order_id, lease, backend, reference, digest, lines) "
        "SELECT id, gen_random_uuid(), 'erp', 'E-' || id, '\\x00', "
        '\'[{"line": 1, "product": "3400937318044", "accepted": 1, "reason": "short"}]\' '
        "FROM unnest(CAST(:ids AS uuid[])) AS id",
        ids=delivered,
    )
    journal.sql(
        "INSERT INTO evidence (backend, lease, order_id, kind, conclusive, detail, answer) "
        "VALUES ('erp', gen_random_uuid(), :id, 'wrong_digest', true, 'other bytes', '\\x7b7dff')",
        id=delivered[0],
    )
    journal.sql(
        "INSERT INTO asides (digest, kind, told, order_id, why, raw) "
        "VALUES ('\\x01', 'conflict', :id, :id, '\"taken\"', '\\x02')",
        id=ids[0],
    )
    journal.sql(
        "INSERT INTO reconciliations (backend, since, until, started_by, cursor_at, cursor_id, missing, state, "
        "listing, finished_at) "
        "VALUES ('erp', now() - interval '1 day', now(), 'alice', now(), :id, 1, 'done', 'whole', now())",
        id=delivered[1],
    )
    journal.sql(
        "INSERT INTO findings (reconciliation, order_id, kind, detail) VALUES (1, :id, 'missing', '\"not there\"')",
        id=delivered[1],
    )
    journal.sql("INSERT INTO workers (name, host, pid) VALUES ('relais-7@here', 'here', 7)")
    assert relais("key", "generate", str(tmp_path / "erp.key")).code == 0
    assert relais("key", "add", "erp", str(tmp_path / "erp.key.pub")).code == 0
    return ids


def test_every_command_with_json_is_described_and_its_real_documents_fit(
    relais: CommandLine, journal: Journal, tmp_path: Path
) -> None:
    ids = live(relais, journal, tmp_path)
    seen: set[str] = set()

    def fits(command: str, *options: str, **env: str) -> Any:
        done = relais(*command.split(), *options, "--json", **env)
        assert done.out, (command, done.err)
        document = json.loads(done.out)
        assert faults_of(command, document) == [], command
        seen.add(command)
        return document

    def looks(command: str, *options: str, **env: str) -> Any:
        narrow, wide = (relais(*command.split(), *options, **env, COLUMNS=width) for width in ("80", "400"))
        assert {line for line in narrow.out.splitlines() if len(line) > 80 and " " in line.strip()} == set(), command
        document = fits(command, *options, **env)
        assert words_of(wide.out) - headings_of(document) <= words_of(narrow.out), command
        return document

    _look(looks, ids, tmp_path)
    _act(fits, relais, ids, tmp_path)
    assert seen | ELSEWHERE == set(commands())


def words_of(said: str) -> set[str]:
    """Its words, but for what a second changes."""
    return {word for word in said.split() if not any(letter.isdigit() for letter in word) and word.strip("─━-")}


def headings_of(document: Any) -> set[str]:
    """The words of its fields' names: a field that is empty is left out where they stand one below the other."""
    if isinstance(document, dict):
        return {word for name in document for word in name.split("_")}.union(*map(headings_of, document.values()))
    return set().union(*map(headings_of, document)) if isinstance(document, list) else set()


def _look(fits: Callable[..., Any], ids: list[UUID], tmp_path: Path) -> None:
    fits("status")
    fits("status", RELAIS_REDIS_URL="redis://127.0.0.1:1/0")
    fits("status", RELAIS_DATABASE_URL="postgresql://127.0.0.1:1/x")
    fits("backlog")
    fits("forecast", "erp")
    fits("forecast", "erp", "--rate", "5")
    for number in (0, 2, 7):
        fits("order show", str(ids[number]))
    fits("order list", "--limit", "3")
    fits("order list", "--reason", "refused", "--save", str(tmp_path / "refused.csv"))
    fits("dead list")
    fits("dead groups")
    fits("dead show", str(ids[0]))
    fits("evidence", "erp")
    fits("key list")
    fits("admin spill asides")
    fits("admin queue head")
    fits("admin queue drop", "relais.normal.erp", "--because", "nothing there", "--yes")
    fits("admin space")
    fits("worker", "--check", "--timeout", "1s")
    fits("reconcile", "--list")
    fits("reconcile", "--resume", "1")
    orders = tmp_path / "orders"
    order = {"pharmacy": "P1", "reference": "S1", "lines": [{"product": "3400937318044", "quantity": 1}]}
    orders.write_text(json.dumps(order) + "\nno order\n")
    fits("submit", str(orders), "--patience", "0")
    fits("spool status")
    fits("spool flush", "--patience", "0")


def _act(fits: Callable[..., Any], relais: CommandLine, ids: list[UUID], tmp_path: Path) -> None:
    assert relais("rate", "--because", "a test", "erp", "5").code == 0
    fits("forecast", "erp", "--rate", "5")
    fits("status")
    mapping = tmp_path / "products.csv"
    for content in ("product,article\n3400937318044,A1\n", "product,article\n1,A1\n"):
        mapping.write_text(content)
        fits("mapping import", str(mapping), "--because", "a test", "--yes")
    fits("mapping show")
    fits("mapping show", "3400937318044")
    fits("mapping coverage")
    fits("erp check", "erp")
    fits("client add", "front")
    fits("client rotate", "front")
    fits("client list")
    for name, disabled in (("ops", False), ("gone", True)):
        password = f"{name} on a slow brown bicycle"
        with mock.patch("sys.stdin", io.StringIO(password)):
            assert relais("account", "add", name, "--role", "viewer", "--password-file", "-").code == 0
        assert not disabled or relais("account", "disable", name).code == 0
    fits("account list")
    fits("webhook add", "front", "http://127.0.0.1:1/hook")
    fits("webhook rotate", "front")
    fits("webhook list")
    fits("webhook notices", "front")
    fits("webhook notices", "--waiting")
    fits("webhook test", "front")
    fits("admin spill readmit", "--because", "a test")
    fits("divert", "--to", "fallback", "--because", "out", "--priority", "urgent", "--dry-run")
    fits("divert", "--to", "fallback", "--because", "out", "--priority", "urgent", "--yes")
    fits("admin spill drop", "--because", "forged", "--yes")
    fits("reconcile", "--resume", "1", "--resend", "--dry-run")
    fits("reconcile", "--resume", "1", "--resend", "--yes", "--because", "a test")
    fits("replay start", "--dry-run")
    fits("replay start", "--because", "a test", "--yes", "--no-wait")
    fits("replay status")
    fits("status")
    assert relais("replay", "cancel", "--because", "a test", "--yes").code == 0
    fits("replay status")
    fits("dead replay", str(ids[0]), "--because", "a test", "--yes", "--no-wait")
    fits("dead discard", str(ids[1]), "--because", "by phone", "--yes")
    fits("order cancel", str(ids[5]), "--because", "by phone", "--yes")
    fits("drain", "--timeout", "0.1")
    assert relais("quarantine", "erp", "--because", "an intrusion").code == 0
    fits("status")
    file = tmp_path / "password"
    file.write_text("nine slow bicycles at dusk")
    for name in ("alice", "bob"):
        assert relais("account", "add", name, "--role", "approver", "--password-file", str(file)).code == 0
    proof = ("--password-file", str(file))
    proposed = fits("release", "erp", "--because", "all is well", *proof, "--yes")
    fits(
        "release",
        "erp",
        "--because",
        "I looked",
        "--approve",
        proposed["digest"],
        *proof,
        "--yes",
        RELAIS_OPERATOR="bob",
    )
    fits("admin seal")
    fits("admin seal", "--public-key")
    fits("audit")  # the rows put in by hand do not add up
    fits("audit", "--by", "hour")
    fits("status")


def test_every_field_has_a_description_and_nothing_else_passes() -> None:
    Draft202012Validator.check_schema(SCHEMAS)
    assert list(_bare({**SCHEMAS["commands"], **SCHEMAS["$defs"]}, "")) == []
    assert set(SCHEMAS["commands"]) == set(commands())
    assert faults_of("admin spill readmit", {"orders": 3, "new": 1}) != []
    assert faults_of("admin spill readmit", {"orders": None}) != []


def test_the_overview_names_every_command_and_every_field_at_its_top() -> None:
    told = dict(line.split("` | ", 1) for line in (DOCS / "json.md").read_text().splitlines() if "` | " in line)
    assert {name.removeprefix("| `") for name in told} == set(SCHEMAS["commands"])
    for command, schema in SCHEMAS["commands"].items():
        missing = [field for field in _fields(schema) if f"`{field}`" not in told[f"| `{command}"]]
        assert missing == [], command


def _bare(node: Any, place: str) -> Iterator[str]:
    """Places of fields without a description, and of objects that let anything pass."""
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            if not field.get("description"):
                yield f"{place}/{name}"
        if "properties" in node and node.get("additionalProperties") is not False:
            yield place
        for name, inner in node.items():
            yield from _bare(inner, f"{place}/{name}")
    elif isinstance(node, list):
        for inner in node:
            yield from _bare(inner, place)


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    """The fields at the top of a document, or of its rows."""
    schema = SCHEMAS["$defs"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    yield from schema.get("properties", {})
    for inner in (
        *schema.get("oneOf", ()),
        *schema.get("anyOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ):
        yield from _fields(inner)
