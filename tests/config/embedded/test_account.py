"""What PostgreSQL's own user is given: no more than it needs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.embedded import account
from config.embedded.account import lesser_account, let_read


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """The account is looked up afresh in each test and after it."""
    lesser_account.cache_clear()
    yield
    lesser_account.cache_clear()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_who_is_not_root_stays_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert lesser_account() is None


def test_root_without_useradd_takes_another_unprivileged_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "OWN", "relais-no-such-user")
    monkeypatch.setattr(account, "_make", lambda name: None)
    found = lesser_account()
    assert found is not None
    assert found.uid != 0


def test_root_on_a_machine_without_any_such_user_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "_make", lambda name: None)
    monkeypatch.setattr(account, "_entry", lambda name: None)
    with pytest.raises(RuntimeError, match="make one with useradd"):
        lesser_account()


def test_of_many_who_start_at_once_one_adds_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The second useradd of two at once gives the name another number, and who has the first is nobody."""
    users, useradd = tmp_path / "passwd", tmp_path / "useradd"
    users.touch()
    useradd.write_text(f"#!/bin/sh\nsleep 0.2; echo $$ >> {users}\n")
    useradd.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(account, "TURN", str(tmp_path))
    monkeypatch.setattr(account, "_entry", lambda name: users.read_text() or None)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(account._make, ["relais-test"] * 8))
    assert len(users.read_text().splitlines()) == 1


def test_an_installation_closed_by_a_strict_umask_is_opened_for_reading_alone(tmp_path: Path) -> None:
    program, library = tmp_path / "bin" / "postgres", tmp_path / "lib" / "a.so"
    for path, bits in ((program, 0o700), (library, 0o600)):
        path.parent.mkdir(mode=0o700)
        path.touch(mode=bits)
    (tmp_path / "link").symlink_to("nowhere")
    let_read(tmp_path, program)
    assert [mode(path) for path in (program, library, library.parent)] == [0o705, 0o604, 0o705]


def test_an_installation_that_is_open_is_not_touched(tmp_path: Path) -> None:
    program, private = tmp_path / "postgres", tmp_path / "private"
    program.touch(mode=0o755)
    private.touch(mode=0o600)
    let_read(tmp_path, program)
    assert mode(private) == 0o600
