"""What operators do about trust, through `relais`: keys, quarantine, evidence, and a release that needs two."""

import base64
import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from config.settings import Settings
from tests.cli import CommandLine, environment
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
    assert relais("quarantine", "erp", "--reason", "an intrusion").code == 0
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
    assert relais("key", "revoke", "erp", "second", "--reason", "stolen").code == 0
    assert relais("key", "revoke", "erp", "second", "--reason", "again").code == 1
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
    assert relais("release", "erp", "--reason", "all is well").code == 1, "no such backend yet"
    held(relais, journal)
    row = standing(relais)
    assert (row["quarantined"], row["quarantined_by"], row["evidence"]) == (True, "alice", 1)
    assert row["held"].startswith("erp is in quarantine since 20") and row["held"].endswith("by alice: an intrusion")
    assert "an intrusion" in relais("status").out
    again = relais("quarantine", "--reason", "another")
    assert (again.code, "already, by alice: an intrusion" in again.err) == (1, True)
    relais("pause", "--reason", "stocktaking")
    relais("resume")
    assert standing(relais)["held_why"] == "an intrusion", "pause and resume leave it as it is"
    assert relais("release", "erp").code == 2, "without a reason"
    assert relais("release", "erp", "--reason", "rebuilt").code == 0
    row = standing(relais)
    assert (row["quarantined"], row["circuit"], row["window"], row["held_why"]) == (False, "open", 1, None)
    assert relais("release", "erp", "--reason", "rebuilt").code == 1
    acts = [("quarantine", "an intrusion"), ("pause", "stocktaking"), ("resume", None), ("release", "rebuilt")]
    assert journal.operations() == acts


def test_evidence_is_listed_with_the_answers_as_they_came(relais: CommandLine, journal: Journal) -> None:
    held(relais, journal)
    found_out(journal)
    found = json.loads(relais("evidence", "erp", "--json").out)
    assert [(row["kind"], row["conclusive"], row["answer"]) for row in found] == [("wrong_digest", True, "{}\\xff")] * 2
    assert len(json.loads(relais("evidence", "--limit", "1", "--json").out)) == 1
    assert json.loads(relais("evidence", "--order", found[0]["order_id"], "--json").out) == found[:1]
    assert json.loads(relais("evidence", "--order", str(uuid4()), "--json").out) == []
    assert "other bytes" in relais("evidence").out


def test_a_release_needs_a_second_operator_who_approves_what_the_first_one_saw(
    relais: CommandLine, journal: Journal, pub: str
) -> None:
    held(relais, journal)
    four = {"RELAIS_FOUR_EYES": "true"}
    seen = json.loads(relais("release", "erp", "--reason", "rebuilt", "--json", **four).out)
    assert (seen["released"], seen["conclusive"], seen["keys"], seen["backlog"]) == (False, 1, [], 0)
    assert standing(relais)["quarantined"]

    def approve(digest: str, who: str) -> tuple[int, str]:
        done = relais("release", "erp", "--approve", digest, RELAIS_OPERATOR=who, **four)
        return done.code, done.err

    assert approve(seen["digest"], "alice")[0] == 1, "the same operator"
    assert "another operator" in approve(seen["digest"], "alice")[1]
    assert approve("0" * 64, "bob")[0] == 1, "a digest that nobody proposed"
    journal.accept(3)
    found_out(journal)
    assert "not as alice saw it" in approve(seen["digest"], "bob")[1], "new evidence voids it"
    seen = json.loads(relais("release", "erp", "--reason", "rebuilt", "--json", **four).out)
    relais("key", "add", "erp", pub)
    assert approve(seen["digest"], "bob")[0] == 1, "and so does another key"
    assert standing(relais)["quarantined"]
    shown = relais("release", "erp", "--reason", "rebuilt", **four).out
    digest = shown.strip().rpartition(" ")[2]
    journal.accept(3)
    assert approve(digest, "bob") == (0, "erp is released; one canary goes first.\n"), "intake goes on meanwhile"
    assert not standing(relais)["quarantined"]
    detail = journal.sql("SELECT operator, reason, detail FROM operations WHERE act = 'release'")[0]
    assert (detail.operator, detail.reason, detail.detail["proposed_by"]) == ("bob", "rebuilt", "alice")
    assert relais("quarantine", "--reason", "again").code == 0
    assert approve(digest, "bob")[0] == 1, "an approval is for one quarantine"


def test_where_several_backends_are_named_the_default_one_of_them_is_meant(relais: CommandLine, data_dir: Path) -> None:
    """Also before any worker has run for it."""
    file = data_dir / "backends.toml"
    file.write_text("default = 'main'\n[backends.other]\nurl = 'http://b'\n[backends.main]\nurl = 'http://a'\n")
    env = {"RELAIS_BACKENDS": str(file)}
    assert relais("quarantine", "--reason", "looks odd", **env).code == 0
    assert relais("quarantine", "other", "--reason", "looks odd too", **env).code == 0
    assert relais("quarantine", "unheard-of", "--reason", "?", **env).code == 1
    found = json.loads(relais("status", "--json", **env).out)
    assert {row["name"]: row["held_why"] for row in found["backends"]} == {
        "main": "looks odd",
        "other": "looks odd too",
    }
