"""What the command line promises without any server: commands, start-up, exit codes, words for errors."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from redis.exceptions import RedisError

from config.durations import duration, span
from config.errors import first_line
from config.settings import ENDPOINTS, MissingSetting, Settings
from config.telemetry.visible import visible
from orders.errors import Fault, JournalDown, Malformed, NotFound
from orders.rules.catalogue import BadList
from tests.cli import CommandLine, modules_after, ours, whole_command
from workers.cli import show
from workers.cli.app import COMMANDS as TABLE
from workers.cli.commands.admin import COMMANDS as RARE
from workers.cli.failure import BAD, UNABLE, CommandFailed, explain
from workers.cli.files import lines
from workers.cli.files.lines import chunks_of, lines_of
from workers.cli.lazy import LazyCommand
from workers.dispatch.blocked import hindrance
from workers.erp.sim import Dial

COMMANDS = [
    "up",
    "demo",
    "admin migrate",
    "api",
    "worker",
    "flower",
    "erp-sim",
    "submit",
    "status",
    "backlog",
    "audit",
    "admin seal",
    "forecast",
    "replay start",
    "replay status",
    "replay pause",
    "replay resume",
    "replay next",
    "replay hold",
    "replay cancel",
    "drain",
    "reconcile",
    "divert",
    "rate",
    "pause",
    "resume",
    "quarantine",
    "release",
    "evidence",
    "key add",
    "key rotate",
    "key revoke",
    "key list",
    "key generate",
    "order show",
    "client add",
    "client list",
    "client change",
    "client rotate",
    "client revoke",
    "webhook add",
    "webhook list",
    "webhook rotate",
    "webhook enable",
    "webhook disable",
    "webhook test",
    "webhook notices",
    "webhook move",
    "webhook remove",
    "admin spill asides",
    "admin spill readmit",
    "admin spill drop",
    "dead list",
    "dead groups",
    "dead show",
    "dead replay",
    "dead discard",
    "spool status",
    "spool flush",
    "spool export",
    "admin space",
    "admin queue head",
    "admin queue drop",
    "exporter",
    "admin secrets",
    "admin roles",
    "admin acl",
    "console",
    "account add",
    "account list",
    "account role",
    "account password",
    "account disable",
    "account enable",
    "account logout",
]


@pytest.fixture
def relais(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path)})


@pytest.mark.parametrize("words", [tuple(name.split()) for name in COMMANDS], ids=" ".join)
def test_every_command_is_there_and_explains_itself(words: tuple[str, ...]) -> None:
    command: Any = whole_command()
    for word in words:
        command = command.commands[word]
    assert command.help
    assert all(getattr(option, "help", None) or option.name in ("ctx", "order_id") for option in command.params)


def test_help_comes_quickly_because_nothing_heavy_is_imported() -> None:
    heavy = "rich sqlalchemy asyncpg celery kombu aiohttp fastapi uvicorn pydantic pydantic_settings tornado asyncio"
    loaded = modules_after(dict(os.environ), "--help")
    assert loaded.isdisjoint(heavy.split())
    assert ours(loaded) == {"workers", "workers.cli", "workers.cli.app", "workers.cli.lazy"}


ENTRIES = {name: entry for table in (*TABLE.values(), *RARE.values()) for name, entry in table.items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_what_help_says_of_a_command_is_what_it_says_of_itself(name: str) -> None:
    itself = LazyCommand(name, *ENTRIES[name]).loaded()
    assert itself.name == name
    assert itself.get_short_help_str(200) == ENTRIES[name][1]


def test_help_lists_the_commands_by_what_they_are_for_and_folds_the_rare_ones(relais: CommandLine) -> None:
    parts = dict(re.findall(r"^(\w+):\n((?:  .*\n)+)", relais("--help").out, re.MULTILINE))
    listed = {heading: re.findall("^  ([a-z-]+)  ", part, re.MULTILINE) for heading, part in parts.items()}
    del listed["Options"]
    assert listed == {heading: [*table] for heading, table in TABLE.items()}
    assert [*listed] == ["Try", "Serve", "Look", "Recover", "Orders", "Administer"]
    rare = relais("admin", "--help").out
    for name in ("secrets", "acl", "migrate", "spill", "queue", "space", "seal"):
        assert re.search(rf"^  {name} ", rare, re.MULTILINE)
        assert relais(name).code == 2


def options_of(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every option there is, with its command's name."""
    for word, inner in getattr(command, "commands", {}).items():
        yield from options_of(inner, f"{name} {word}".strip())
    yield from ((name, option) for option in command.params)


def test_a_justification_is_because_and_a_reason_chooses_dead_letters() -> None:
    told = [(name, each) for name, each in options_of(whole_command()) if "--reason" in each.opts]
    dead = {"dead list", "dead groups", "dead replay", "dead discard"}
    assert {name for name, _ in told} == {"replay start", "order list", "order cancel", *dead}


def test_replay_shows_the_options_of_its_start(relais: CommandLine) -> None:
    shown = relais("replay", "--help").out
    for option in ("--stage-hold", "--pharmacy", "--older", "--younger", "--reason", "--because", "--no-wait"):
        assert f"  {option}" in shown


WRONG = (
    ("drain --timeout soon", "a duration is a number and s, m, h or d: 90s, 15m, 6h, 2d"),
    ("reconcile --since soon", "a time is RFC 3339 with a zone, or an age with s, m, h or d: 2026-01-05T18:00:00Z, 2d"),
    ("forecast --rate fast", "a rate is from 0.001 to 1000000 orders a second"),
    ("order show x", "must be a valid UUID"),
    ("dead list --limit many", "must be a valid integer"),
    ("api --port 99999", "must be less than or equal to 65535"),
)


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_what_is_wrong_with_a_value_is_said_in_plain_words(relais: CommandLine, words: str, said: str) -> None:
    done = relais(*words.split())
    assert (done.code, done.err.splitlines()[-1].partition(": Invalid value for ")[2].partition(": ")[2]) == (2, said)


def test_help_of_one_command_imports_that_one_only() -> None:
    loaded = modules_after(dict(os.environ), "pause", "--help")
    commands = {name for name in loaded if name.startswith("workers.cli.commands.")}
    assert commands == {"workers.cli.commands.recovery", "workers.cli.commands.recovery.recovery"}


def test_help_and_version_exit_with_0_and_nonsense_with_2(relais: CommandLine) -> None:
    assert relais("--help").code == 0
    assert relais("--version").out.startswith("relais")
    nonsense = relais("sattus")
    assert (nonsense.code, nonsense.out) == (2, "")
    assert "No such command" in nonsense.err


def test_nobody_reads_pythons_warnings() -> None:
    last = "finally:\n  warnings.warn('old', UserWarning)"
    code = f"import sys, warnings\nfrom workers.cli import main\ntry:\n  main()\n{last}"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout.split()[0], done.stderr) == ("relais", "")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "workers.cli", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: relais")


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "RELAIS_DATABASE_URL is not set"),
        ({"RELAIS_API_PORT": "eighty"}, "RELAIS_API_PORT"),
        ({"RELAIS_ERP_TIMEOUT": "60"}, "RELAIS_ERP_TIMEOUT must not exceed RELAIS_BATCH_BUDGET"),
        ({"RELAIS_DATABASE_URL": "nonsense"}, "RELAIS_DATABASE_URL is not a URL"),
        ({"RELAIS_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x"}, "127.0.0.1:1/x is out of reach"),
    ],
)
def test_settings_and_stores_out_of_reach_are_one_line_and_exit_2(
    relais: CommandLine, env: dict[str, str], says: str
) -> None:
    done = relais("audit", **env)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert "secret" not in done.err


def test_a_data_directory_offers_what_runs_there(relais: CommandLine, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    offered = {"database_url": "postgresql://u:p@127.0.0.1:1/offered"}
    (there / ENDPOINTS).write_text(json.dumps(offered))
    assert "/offered is out of reach" in relais("--data-dir", str(there), "audit").err
    assert "is not set" in relais("audit").err
    (there / ENDPOINTS).write_text("not JSON")
    broken = relais("--data-dir", str(there), "audit")
    assert (broken.code, ENDPOINTS in broken.err) == (2, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandFailed("no", BAD), BAD),
        (NotFound("no order"), BAD),
        (JournalDown("gone"), UNABLE),
        (Malformed([Fault("name", None, "bad")]), UNABLE),
        (BadList(Path("list.csv"), 3, "cip13", "bad"), UNABLE),
        (MissingSetting("unset"), UNABLE),
        (FileNotFoundError(2, "No such file or directory", "orders.ndjson"), UNABLE),
        (ZeroDivisionError("surprise"), UNABLE),
    ],
)
def test_every_error_has_a_sentence_and_a_code(error: Exception, code: int) -> None:
    message, found = explain(error)
    assert found == code
    assert message
    assert not re.search(r"Traceback|[A-Z]\w+Error", message), "no class of Python's in what people read"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "Connection refused"),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), "
                "[Errno 111] Connect call failed ('127.0.0.1', 1)"
            ),
            "Connection refused",
        ),
        (
            RedisError("Error 111 connecting to 127.0.0.1:6379. Connect call failed ('127.0.0.1', 6379)."),
            "Connection refused",
        ),
        (RedisError("Error 113 connecting to redis:6379. No route to host."), "No route to host"),
        (RedisError("Error -2 connecting to redis:6379. Name or service not known."), "Name or service not known"),
        (RedisError("Timeout connecting to server"), "Timeout connecting to server"),
        (ValueError("one\ntwo"), "one"),
    ],
)
def test_a_connection_that_came_to_nothing_is_told_without_a_librarys_words(error: Exception, told: str) -> None:
    assert first_line(error) == told


@pytest.mark.parametrize("words", [("admin", "queue", "head"), ("admin", "space"), ("status",)], ids=" ".join)
def test_a_redis_that_is_not_there_refused_the_connection(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    nowhere = {"RELAIS_DATABASE_URL": "postgresql://127.0.0.1:1/x", "RELAIS_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path), **nowhere})(*words)
    said = re.sub(r"\s+", " ", done.out + done.err)
    assert re.search("[Rr]edis (is )?out of reach: Connection refused", said), said
    assert "Error 111" not in said


def test_a_wrong_secret_is_named_but_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None, api_port="hunter2")  # type: ignore[arg-type]
    message, code = explain(caught.value)
    assert (code, "RELAIS_API_PORT" in message, "hunter2" in message) == (UNABLE, True, False)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21_600), ("2d", 172_800), ("45", 45), (" 1.5h", 5400)]
)
def test_durations_as_people_type_them(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "-5m", "5 weeks", "1h30", "9" * 30 + "d", "nan", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(text)


def test_spans_in_their_two_largest_units() -> None:
    assert [span(s) for s in (-1, 41, 200, 21_900, 183_600)] == ["0s", "41s", "3m 20s", "6h 05m", "2d 03h"]


def test_what_an_erp_says_cannot_drive_the_terminal() -> None:
    assert visible("\x1b[31mred\x07 [bold]é") == r"\x1b[31mred\x07 [bold]é"


def test_a_document_holds_times_ids_and_durations(capsys: pytest.CaptureFixture[str]) -> None:
    show.document({"at": datetime(2026, 1, 5, 12, tzinfo=UTC), "id": UUID(int=7), "for": timedelta(minutes=1)})
    read = json.loads(capsys.readouterr().out)
    assert read == {"at": "2026-01-05T12:00:00Z", "id": str(UUID(int=7)), "for": 60.0}


@given(st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"")), max_size=30), st.booleans())
def test_lines_keep_their_numbers_and_blank_ones_are_left_out(texts: list[bytes], ended: bool) -> None:
    content = b"\n".join(texts) + (b"\n" if ended else b"")
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    found = [(line.number, line.text) for batch in lines_of(chunks_of(reading)) for line in batch]
    os.close(reading)
    assert found == [(number, text.strip()) for number, text in enumerate(texts, 1) if text.strip()]


def test_a_line_that_is_too_long_costs_only_itself_and_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LIMIT", 1000)
    monkeypatch.setattr(lines, "CHUNK", 64)
    file = tmp_path / "orders"
    file.write_bytes(b"first\n" + b"x" * 5000 + b"\nlast\n" + b"y" * 1001)
    descriptor = os.open(file, os.O_RDONLY)
    found = [line for batch in lines_of(chunks_of(descriptor)) for line in batch]
    os.close(descriptor)
    assert [(line.number, line.text) for line in found] == [(1, b"first"), (2, None), (3, b"last"), (4, None)]
    assert sum(line.size for line in found) == file.stat().st_size + 1


def standing(**fields: object) -> dict[str, object]:
    soon = datetime(2026, 1, 5, 12, 0, 7, tzinfo=UTC)
    since = datetime(2026, 1, 5, 11, 58, 26, tzinfo=UTC)
    plain = {
        "name": "erp",
        "circuit": "closed",
        "paused": False,
        "quarantined": False,
        "why": None,
        "held_why": None,
        "probe_at": soon,
        "since": since,
        "canary_due": False,
    }
    return plain | fields


@pytest.mark.parametrize(
    ("row", "leading", "why"),
    [
        (standing(), True, None),
        (standing(), False, "no worker is running"),
        (standing(paused=True, held_why="stocktaking"), True, "erp is paused: stocktaking"),
        (standing(quarantined=True, paused=True, held_why="tampered"), True, "erp is in quarantine: tampered"),
        (
            standing(circuit="open", why="refused"),
            True,
            "the circuit is open since 2026-01-05 11:58:26Z: refused; next canary at 12:00:07Z",
        ),
        (
            standing(circuit="open", why="refused", canary_due=True),
            True,
            "since 2026-01-05 11:58:26Z: refused; the next order due is the canary",
        ),
        (standing(circuit="half_open"), True, "nothing was taken since 2026-01-05 11:58:26Z; one canary is out"),
    ],
)
def test_what_holds_a_backend_is_one_sentence(row: dict[str, object], leading: bool, why: str | None) -> None:
    found = hindrance(row, leading)
    assert found == why if why is None else why in str(found)


def test_the_simulator_has_an_option_for_every_knob() -> None:
    options = {option.name for option in whole_command().commands["erp-sim"].params}
    assert set(Dial.model_fields) == options - {"host", "port", "control_port", "file", "sign_key", "sign_as"}


def test_a_knob_of_pairs_takes_a_pair_at_a_time(relais: CommandLine) -> None:
    done = relais("erp-sim", "--substitute", "3400937318044")
    assert (done.code, "--substitute: must be PRODUCT=OTHER" in done.err) == (2, True)
    pairs = "--substitute", "1=2", "--substitute", "3=4", "--refuse-line", "5=0003 Produit=supprimé"
    done = relais("erp-sim", *pairs, "--back-order-days", "400")
    assert (done.code, "--back-order-days" in done.err, "--substitute" in done.err) == (2, True, False)


def test_a_knob_that_is_turned_too_far_is_named(relais: CommandLine) -> None:
    done = relais("erp-sim", "--error-rate", "2", "--garbage", "html")
    assert (done.code, "--error-rate" in done.err) == (2, True)
