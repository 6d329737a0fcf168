"""What operators do about trust, through `relais`: keys, quarantine, evidence, and a release that needs two."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.settings import Settings
from tests.cli import CommandLine, Done, environment
from tests.journal import Journal
from workers.backend_transitions import FIRST_WINDOW
from workers.erp.keyfile import read_private


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, {**environment(settings), "RELAIS_OPERATOR": "alice"})


@pytest.fixture
def pub(tmp_path: Path, relais: CommandLine) -> str:
    """The file of a public key."""
    assert relais("key", "generate", str(tmp_path / "erp.key")).code == 0
    return str(tmp_path / "erp.key.pub")


def keys(relais: CommandLine) -> dict[str, Any]:
    return {row["key_id"]: row for row in json.loads(relais("key", "list", "--json").out)}


def held(relais: CommandLine, journal: Journal) -> None:
    """A backend in quarantine, on evidence."""
    journal.sql("INSERT INTO backends (name, \"window\") VALUES ('erp', :window)", window=FIRST_WINDOW)
    assert relais("quarantine", "erp", "--because", "an intrusion").code == 0
    found_out(journal)


def found_out(journal: Journal) -> None:
    journal.sql(
        "INSERT INTO evidence (backend, lease, order_id, kind, conclusive, detail, answer) "
        "VALUES ('erp', gen_random_uuid(), gen_random_uuid(), 'wrong_digest', true, 'other bytes', '\\x7b7dff')"
    )


def standing(relais: CommandLine) -> dict[str, Any]:
    (row,) = json.loads(relais("status", "--json").out)["backends"]
    return dict(row)


def test_keys_are_registered_rotated_with_an_overlap_and_revoked(
    relais: CommandLine, journal: Journal, pub: str, tmp_path: Path
) -> None:
    private = tmp_path / "erp.key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    raw = read_private(private).public_key().public_bytes_raw()
    assert relais("key", "generate", str(private)).code == 2, "a key is never overwritten"
    assert relais("key", "add", "erp", pub, "--id", "first").code == 0
    assert relais("key", "add", "erp", pub, "--id", "first").code == 1
    other = tmp_path / "other"
    other.write_bytes(base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()))
    done = relais("key", "rotate", "erp", str(other), "--id", "second", "--overlap", "2h")
    assert (done.code, "first ends within 2h" in done.err) == (0, True)
    found = keys(relais)
    assert base64.b64decode(found["first"]["public"]) == raw
    assert [found[name]["in_force"] for name in ("first", "second")] == [True, True]
    assert found["first"]["expires_at"] is not None and found["second"]["expires_at"] is None
    assert relais("key", "revoke", "erp", "second", "--because", "stolen").code == 0
    assert relais("key", "revoke", "erp", "second", "--because", "again").code == 1
    assert (keys(relais)["second"]["in_force"], keys(relais)["second"]["why"]) == (False, "stolen")
    assert journal.operations() == [("key add", None), ("key rotate", None), ("key revoke", "stolen")]
    assert "second" in relais("key", "list", "erp").out


@pytest.mark.parametrize("content", [b"", b"nonsense", b"AAAA", b"-----BEGIN PUBLIC KEY-----\nx\n", "rsa"])
def test_what_is_no_public_key_is_refused(relais: CommandLine, tmp_path: Path, content: bytes | str) -> None:
    file = tmp_path / "key"
    if isinstance(content, str):
        rsa = generate_private_key(65537, 2048).public_key()
        content = rsa.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(content)
    done = relais("key", "add", "erp", str(file))
    assert (done.code, "no Ed25519 public key" in done.err) == (2, True)


def test_a_quarantine_is_seen_and_a_release_goes_gently(relais: CommandLine, journal: Journal) -> None:
    assert relais("release", "erp", "--because", "all is well", "--yes").code == 1, "no such backend yet"
    held(relais, journal)
    row = standing(relais)
    assert (row["quarantined"], row["quarantined_by"], row["evidence"]) == (True, "alice", 1)
    assert row["held"].startswith("erp is in quarantine since 20") and row["held"].endswith("by alice: an intrusion")
    assert "an intrusion" in relais("status").out
    again = relais("quarantine", "--because", "another")
    assert (again.code, "already, by alice: an intrusion" in again.err) == (1, True)
    relais("pause", "--because", "stocktaking")
    relais("resume", "--because", "a test")
    assert standing(relais)["held_why"] == "an intrusion", "pause and resume leave it as it is"
    assert relais("release", "erp", "--yes").code == 2, "without a reason"
    unasked = relais("release", "erp", "--because", "rebuilt")
    assert (unasked.code, "erp as it stands" in unasked.out, "say --yes" in unasked.err) == (2, True, True)
    assert relais("release", "erp", "--because", "rebuilt", "--yes").code == 0
    row = standing(relais)
    assert (row["quarantined"], row["circuit"], row["window"], row["held_why"]) == (False, "open", 1, None)
    assert relais("release", "erp", "--because", "rebuilt", "--yes").code == 1
    acts = [("quarantine", "an intrusion"), ("pause", "stocktaking"), ("resume", "a test"), ("release", "rebuilt")]
    assert journal.operations() == acts


def test_evidence_is_listed_with_the_answers_as_they_came(relais: CommandLine, journal: Journal) -> None:
    held(relais, journal)
    found_out(journal)
    found = json.loads(relais("evidence", "erp", "--json").out)
    assert [(row["kind"], row["conclusive"], row["answer"]) for row in found] == [("wrong_digest", True, "{}\\xff")] * 2
    assert len(json.loads(relais("evidence", "--limit", "1", "--json").out)) == 1
    assert json.loads(relais("evidence", "--order", found[0]["order_id"], "--json").out) == found[:1]
    assert json.loads(relais("evidence", "--order", str(uuid4()), "--json").out) == []
    shown = relais("evidence").out
    assert ("wrong_digest" in shown, "(masked)" in shown, "other bytes" in shown) == (True, True, False), (
        "as the console"
    )
    assert "other bytes" in relais("evidence", "--json").out


@pytest.fixture
def four(cheap_hashes: None, relais: CommandLine, tmp_path: Path) -> Callable[..., Done]:
    """`relais release erp …` with four eyes, by an account that gives its password."""
    for name, role in (("alice", "approver"), ("bob", "approver"), ("olga", "operator"), ("vera", "viewer")):
        (tmp_path / name).write_text(f"nine slow bicycles of {name}\n")
        added = relais("account", "add", name, "--role", role, "--password-file", str(tmp_path / name))
        assert added.code == 0, added.err

    def release(who: str, *asked: str, by: str | None = None) -> Done:
        proof = str(tmp_path / (by or who))
        env = {"RELAIS_FOUR_EYES": "true", "RELAIS_OPERATOR": who, "RELAIS_OPERATOR_PASSWORD_FILE": proof}
        return relais("release", "erp", *asked, "--yes", **env)

    return release


def test_a_release_needs_a_second_operator_who_approves_what_the_first_one_saw(
    relais: CommandLine, journal: Journal, pub: str, four: Callable[..., Done]
) -> None:
    held(relais, journal)
    seen = json.loads(four("alice", "--because", "rebuilt", "--json").out)
    assert (seen["released"], seen["conclusive"], seen["keys"], seen["backlog"]) == (False, 1, [], 0)
    assert standing(relais)["quarantined"]

    def approve(digest: str, who: str) -> tuple[int, str]:
        done = four(who, "--because", "I looked", "--approve", digest)
        return done.code, done.err

    assert approve(seen["digest"], "alice")[0] == 1, "the same operator"
    assert "another operator" in approve(seen["digest"], "alice")[1]
    assert approve("0" * 64, "bob")[0] == 1, "a digest that nobody proposed"
    journal.accept(3)
    found_out(journal)
    assert "not as alice saw it" in approve(seen["digest"], "bob")[1], "new evidence voids it"
    seen = json.loads(four("alice", "--because", "rebuilt", "--json").out)
    relais("key", "add", "erp", pub)
    assert approve(seen["digest"], "bob")[0] == 1, "and so does another key"
    assert standing(relais)["quarantined"]
    shown = four("alice", "--because", "rebuilt").out
    digest = shown.strip().rpartition(" ")[2]
    journal.accept(3)
    assert approve(digest, "bob") == (0, "erp is released; one canary goes first.\n"), "intake goes on meanwhile"


def test_four_eyes_are_two_accounts_however_a_name_is_written_and_each_proves_to_be_it(
    relais: CommandLine, journal: Journal, four: Callable[..., Done]
) -> None:
    held(relais, journal)
    digest = json.loads(four("alice", "--because", "rebuilt", "--json").out)["digest"]
    same = ("Alice", "ALICE", " alice", "al ice", "\uff21lice", "\xe1lice", "ali\u0301ce", "\U0001d41aLICE")
    for written in same:
        done = four(written, "--because", "I looked", "--approve", digest, by="alice")
        assert (done.code, done.err) == (1, "relais: alice proposed it: another operator has to approve it\n"), written
    for who, by, says in (
        ("bob", "alice", "bob: name and password do not go together"),
        ("nobody", "alice", "nobody: name and password do not go together"),
        ("olga", "olga", "this takes the role approver; olga is operator"),
    ):
        done = four(who, "--because", "I looked", "--approve", digest, by=by)
        assert (done.code, says in done.err) == (1, True), done.err
    done = four("vera", "--because", "rebuilt")
    assert (done.code, "this takes the role operator; vera is viewer" in done.err) == (1, True)
    done = relais(
        "release",
        "erp",
        "--because",
        "I looked",
        "--approve",
        digest,
        "--yes",
        RELAIS_OPERATOR="bob",
        RELAIS_FOUR_EYES="true",
    )
    assert (done.code, "nobody can be asked here" in done.err) == (2, True)
    journal.sql(
        "INSERT INTO operations (operator, act, reason, detail) SELECT 'mallory', act, reason, detail || :other "
        "FROM operations WHERE act = 'release proposed'",
        other=json.dumps({"digest": "1" * 64}),
    )
    assert "nobody proposed to release erp" in four("bob", "--because", "I looked", "--approve", "1" * 64).err, (
        "mallory has no account"
    )
    assert standing(relais)["quarantined"]
    assert relais("account", "disable", "alice").code == 0
    assert "nobody proposed to release erp" in four("bob", "--because", "I looked", "--approve", digest).err, (
        "alice has none any more"
    )
    digest = json.loads(four("olga", "--because", "rebuilt", "--json").out)["digest"]
    assert four("Bob", "--because", "I looked", "--approve", digest, by="bob").code == 0
    [released] = journal.sql("SELECT operator, reason, detail FROM operations WHERE act = 'release'")
    assert (released.operator, released.reason) == ("bob", "rebuilt")
    assert (released.detail["proposed_by"], released.detail["approved_because"]) == ("olga", "I looked")


def test_a_wrong_password_at_the_command_line_is_counted(
    relais: CommandLine, journal: Journal, four: Callable[..., Done]
) -> None:
    held(relais, journal)
    said = [four("bob", "--because", "rebuilt", by="alice").err for _ in range(8)]
    assert "do not go together" in said[0] and "too many tries: no password is looked at for" in said[-1]
    assert "too many tries" in four("bob", "--because", "rebuilt").err, "the right one is not looked at either"
