"""What a real OpenSSH and a real file system do to an order on its way, and what is said of it."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from tests.conformance.counterparts import started
from tests.conformance.files import OverSftp
from tests.conformance.test_connector import BUDGET, all_taken, at, settled, submit
from workers.dispatch.aside_watch import SetsAside
from workers.erp.port import Erp, Evidence, Kind, Outcome

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture
def erp(leash: Leash) -> Iterator[OverSftp]:
    with started(OverSftp, leash) as erp:
        yield erp


def sent(erp: OverSftp) -> tuple[Outcome, Outcome]:
    """What is said of an order that is sent, and of the same one that is looked for."""
    order = erp.order(3)
    told = at(erp, lambda connector: submit(connector, [order]))[order.id]
    return told, at(erp, lambda connector: connector.find([order.id], budget=BUDGET))[order.id]


def test_a_server_with_another_key_gets_nothing(erp: OverSftp) -> None:
    erp.settings()
    erp.sshd.kill()
    erp.sshd.change_host_key()
    erp.sshd.start()
    told, looked = sent(erp)
    assert (told.kind, told.evidence) == (Kind.SUSPICIOUS, Evidence.WRONG_CERTIFICATE)
    assert (looked.kind, looked.evidence) == (Kind.SUSPICIOUS, Evidence.WRONG_CERTIFICATE)
    assert erp.effects() == {}
    assert "Accepted publickey" not in (erp.sshd.directory / "sshd.log").read_text().split("Server listening")[-1]


def test_what_is_set_aside_is_counted_and_nothing_is_said_where_it_cannot_be(erp: OverSftp) -> None:
    async def count(connector: Erp) -> int | None:
        assert isinstance(connector, SetsAside)
        return await connector.set_aside(budget=5)

    assert at(erp, count) == 0
    aside = erp.edi.directory / "relais" / "aside"
    aside.mkdir()
    for name in ("one.edi", "one.edi.reason.txt", "two.edi", "two.edi.reason.txt"):
        (aside / name).write_text("no answer")
    assert at(erp, count) == 2
    aside.parent.rename(aside.parent.with_name("away"))
    assert at(erp, count) is None
    aside.parent.with_name("away").rename(aside.parent)
    erp.kill()
    assert at(erp, count) is None


def test_whoever_is_not_let_in_is_told_so_without_a_secret(erp: OverSftp) -> None:
    erp.lock_out()
    told, looked = sent(erp)
    assert (told.kind, looked.kind) == (Kind.TRANSIENT, Kind.UNKNOWN)
    assert "does not let us in" in told.detail
    assert "PRIVATE" not in told.detail


@pytest.mark.parametrize("directory", ["orders", "relais"])
def test_a_directory_that_may_not_be_written_to(erp: OverSftp, directory: str) -> None:
    place = erp.edi.directory / directory
    place.chmod(0o555)
    os.chown(place, os.geteuid(), os.getegid())
    if os.geteuid() != 0:
        pytest.skip("the server runs as who owns the directory, who may write to it")
    told, _ = sent(erp)
    assert told.kind is Kind.TRANSIENT
    assert "permission denied" in told.detail
    place.chmod(0o777)
    assert all_taken(at(erp, lambda connector: settled(connector, [erp.order(1)])))


@pytest.mark.parametrize("directory", ["orders", "answers", "relais"])
def test_a_directory_that_is_gone_is_not_made(erp: OverSftp, directory: str) -> None:
    place = erp.edi.directory / directory
    place.rename(place.with_name("elsewhere"))
    assert at(erp, lambda connector: connector.probe()) is False
    told, looked = sent(erp)
    assert not place.exists() or directory == "answers"  # mock-edi makes its own
    assert told.kind is (Kind.PENDING if directory == "answers" else Kind.TRANSIENT)
    assert looked.kind is not Kind.ABSENT or directory == "orders"


def test_a_full_disk_takes_nothing_and_says_so(erp: OverSftp) -> None:
    base = erp.edi.directory
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(base)):
        pytest.skip("no file system can be mounted here, to fill it")
    try:
        for name in ("orders", "answers", "relais"):
            (base / name).mkdir()
            (base / name).chmod(0o777)
        filler = base / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 100_000)
        told, looked = sent(erp)
        assert told.kind is Kind.TRANSIENT
        assert "no space is left" in told.detail
        assert looked.kind in (Kind.ABSENT, Kind.UNKNOWN)
        assert not [*(base / "orders").iterdir()]
        filler.unlink()
        assert sent(erp)[0].kind is Kind.PENDING
    finally:
        subprocess.run(["umount", "--lazy", str(base)], check=True)


def mount(*words: str) -> int:
    return subprocess.run(["mount", *words], check=False, capture_output=True).returncode
