"""What `relais erp check` finds of a real OpenSSH: its key, a directory that lacks or is elsewhere, its clock."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from tests.conformance.checks.conftest import Check
from tests.conformance.checks.test_every_kind import all_well
from tests.conformance.counterparts import started
from tests.conformance.files import OverSftp
from tests.conformance.test_sftp import mount
from tests.machines.clock import Clock

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture
def erp(leash: Leash) -> Iterator[OverSftp]:
    with started(OverSftp, leash) as erp:
        yield erp


def again(erp: OverSftp) -> None:
    erp.sshd.kill()
    erp.sshd.start()


def test_another_host_key_is_shown_and_told(erp: OverSftp, check: Check) -> None:
    settings = erp.settings()
    assert all_well(check(settings))
    erp.sshd.change_host_key()
    again(erp)
    told = check(settings)
    assert told.failing == {"host key"}, told.said
    assert told.found["host key"][1].endswith(f"127.0.0.1 shows {erp.sshd.fingerprint()}")
    assert "credentials" not in told.found, "nothing is said to another server"


def test_a_key_of_ours_that_cannot_be_read_is_told_without_it(erp: OverSftp, check: Check) -> None:
    own = erp.settings().erp.connector
    assert own is not None
    key = own.with_name("key")
    key.write_text(key.read_text()[:100])
    told = check(erp.settings())
    assert told.failing == {"credentials"}, told.said
    assert "PRIVATE" not in told.found["credentials"][1]


@pytest.mark.parametrize("name", ["orders", "answers", "work"])
def test_a_directory_that_is_gone_or_may_not_be_written_to(erp: OverSftp, check: Check, name: str) -> None:
    erp.edi.kill()  # it makes its own
    place = erp.edi.directory / {"work": "relais"}.get(name, name)
    place.rename(place.with_name("elsewhere"))
    told = check(erp.settings())
    assert name in told.failing, told.said
    assert told.found[name][1].startswith("a directory is not there: ")
    place.with_name("elsewhere").rename(place)
    if os.geteuid() != 0:
        return  # the server runs as who owns the directory, who may write to it
    place.chmod(0o555)
    os.chown(place, 0, 0)
    told = check(erp.settings())
    assert name in told.failing, told.said
    assert told.found[name][1].startswith("permission denied")
    place.chmod(0o777)
    assert all_well(check(erp.settings()))
    assert [*(erp.edi.directory / "orders").glob(".*")] == [], "nothing is left there"


def test_a_directory_of_another_file_system_is_found_out(erp: OverSftp, check: Check) -> None:
    erp.edi.kill()
    place = erp.edi.directory / "orders"
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(place)):
        pytest.skip("no file system can be mounted here")
    try:
        told = check(erp.settings())
        assert told.failing == {"orders"}, told.said
        assert told.found["orders"][1].startswith("the directories must lie on one file system")
        assert not [*place.iterdir()]
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_clock_that_is_off_is_found_out(erp: OverSftp, check: Check) -> None:
    erp.sshd.goes_by(Clock(erp.sshd.directory)).step(7200)
    again(erp)
    told = check(erp.settings())
    assert told.failing == {"ERP's clock"}, told.said
    assert "ahead of ours" in told.found["ERP's clock"][1]
