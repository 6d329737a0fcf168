"""Private files, ports, and the hold on a data directory."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config.embedded import files, ports
from config.embedded.holding import RUN, AlreadyHeld, Holding
from config.embedded.marks import Mark, birth
from config.embedded.ports import choose, is_free
from config.embedded.process import ROOT
from tests.waiting import until

HOLDER = "import sys; from pathlib import Path; from config.embedded.holding import Holding; "
HOLDER += "Holding(Path(sys.argv[1])).take(); print('held', flush=True); sys.stdin.read()"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_replaced_whole_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("an older and longer text")
    path.chmod(0o644)
    files.write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = files.secret(tmp_path / "password")
    assert len(first) >= 32
    assert first == files.secret(tmp_path / "password") != files.secret(tmp_path / "other")
    assert mode(tmp_path / "password") == 0o600


def test_a_log_that_has_grown_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROTATE_AT", 3)
    path = tmp_path / "logs" / "log"
    for text in (b"one\n", b"two\n"):
        descriptor = files.open_log(path)
        os.write(descriptor, text)
        os.close(descriptor)
    assert (path.read_text(), path.with_name("log.1").read_text()) == ("two\n", "one\n")
    assert mode(path) == 0o600


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert files.tail(path) == ""
    path.write_text("".join(f"{n}\n" for n in range(10_000)))
    assert files.tail(path, lines=2) == "9998\n9999"


def test_a_preferred_port_is_taken_when_it_is_free() -> None:
    port = choose()
    assert choose((None, 0, port)) == port
    assert choose((port,), taken=[port]) != port


def test_a_port_made_up_is_kept_for_a_server_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else who makes one up has it, not before the server listens nor while it restarts."""
    port = choose()
    code = f"from config.embedded import ports; ports.LOWEST = ports.HIGHEST = {port}; ports.choose()"
    other = (sys.executable, "-c", code)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for _ in range(2):
        assert b"no free port" in subprocess.run(other, env=env, capture_output=True, check=False).stderr
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass
    kept = len(ports._kept)
    monkeypatch.setattr(ports, "MOST_KEPT", kept)
    choose()
    assert len(ports._kept) == kept, "the oldest is let go"


def test_a_port_in_use_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        busy = server.getsockname()[1]
        assert not is_free(busy)
        assert choose((busy,)) != busy


def test_a_directory_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyHeld, match=f"in use by process {holder.pid}, started 20"):
            Holding(tmp_path).take()
        holder.kill()
    holding = Holding(tmp_path)
    holding.take()
    holding.release()


def test_a_record_outlives_its_writer_and_names_only_the_living(tmp_path: Path) -> None:
    first = Holding(tmp_path)
    first.take()
    pid = os.getpid()
    me = Mark("me", pid, birth(pid), rank=1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        later = Mark("later", other.pid, birth(other.pid), rank=2)
        first.record([me, later, Mark("gone", pid, "1")], {"api": 1234})
        first.record([me, later, Mark("gone", pid, "1")])
        first.release()
        second = Holding(tmp_path)
        second.take()
        assert second.survivors() == [later, me]
        assert second.ports == {"api": 1234}
        other.kill()
    until(lambda: second.survivors() == [me])
    assert mode(tmp_path / RUN) == 0o600
    second.release()
