"""A real OpenSSH with its `sftp-server`, on a loopback port, with keys of its own, as `make erp-tools` unpacks it.

Started by root it runs as `nobody`, so that permissions are what they are to everybody else.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Account, Process, Program
from tests.machines.clock import Clock
from tests.machines.tools import ROOT, lacking
from tests.waiting import until

HOME: Final = ROOT / ".tools" / "openssh"
USER: Final = "relais"
NOBODY: Final = 65534

CONFIGURATION: Final = """
ListenAddress 127.0.0.1
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
MaxStartups 200
Subsystem sftp {sftp}
"""


class Sshd:
    """One server, which a test may take away. `base` is what its user may write to."""

    def __init__(self, directory: Path, leash: Leash) -> None:
        if not HOME.exists():
            lacking("OpenSSH", "apt-get", "ssh-keygen")
        self.directory, self._leash, self.port = directory, leash, choose()
        self.base = directory / "base"
        self._home = _reachable(directory)
        self._process: Process | None = None
        self.base.mkdir(parents=True)
        directory.chmod(0o711)
        for name in ("host_key", "key"):
            keygen("-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
        self.let_in()
        uid = NOBODY if os.geteuid() == 0 else os.geteuid()
        gid = NOBODY if os.geteuid() == 0 else os.getegid()
        (directory / "passwd").write_text(f"{USER}:x:{uid}:{gid}::{self.base}:/bin/sh\n")
        (directory / "group").write_text(f"{USER}:x:{gid}:\n")
        self.sftp_by("")
        self._account = Account(uid, gid) if os.geteuid() == 0 else None
        if self._account is not None:
            for path in (self.base, directory / "host_key"):
                os.chown(path, uid, gid)

    @property
    def key(self) -> Path:
        """The private key that is let in."""
        return self.directory / "key"

    def fingerprint(self) -> str:
        """Of its host key."""
        said = subprocess.run(
            ["ssh-keygen", "-lf", self.directory / "host_key"], capture_output=True, text=True, check=True
        )
        return said.stdout.split()[1]

    def let_in(self) -> None:
        """Our key is good."""
        shutil.copy(self.directory / "key.pub", self.directory / "authorized_keys")
        (self.directory / "authorized_keys").chmod(0o644)

    def let_nobody_in(self) -> None:
        """Our key is not good any more."""
        (self.directory / "authorized_keys").write_text("")

    def sftp_by(self, words: str) -> None:
        """Its sftp-server is started by a command that begins so, from its next start on."""
        sftp = f"{words} {self._home}/usr/lib/openssh/sftp-server"
        configuration = CONFIGURATION.format(port=self.port, directory=self.directory, sftp=sftp.strip())
        (self.directory / "sshd_config").write_text(configuration)

    def goes_by(self, clock: Clock) -> Clock:
        """Files are as old as another clock has it, from its next start on."""
        self.sftp_by(f"/usr/bin/env {' '.join(f'{name}={value}' for name, value in clock.env.items())}")
        return clock

    def change_host_key(self) -> None:
        """It is another server from its next start on."""
        for name in ("host_key", "host_key.pub"):
            (self.directory / name).unlink()
        keygen("-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / "host_key"))
        if self._account is not None:
            os.chown(self.directory / "host_key", self._account.uid, self._account.gid)

    def start(self) -> None:
        """Start it, or start it again."""
        argv = (f"{self._home}/usr/sbin/sshd", "-D", "-e", "-f", str(self.directory / "sshd_config"))
        library = next(self._home.glob("usr/lib/*/libnss_wrapper.so"))
        env = {
            "LD_LIBRARY_PATH": f"{library.parent}:{self._home}/lib/{library.parent.name}",
            "LD_PRELOAD": str(library),
            "NSS_WRAPPER_PASSWD": str(self.directory / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.directory / "group"),
            "PATH": os.environ["PATH"],
        }
        log = self.directory / "sshd.log"
        program = Program("sshd", argv, log, env, grace=5.0, account=self._account)
        self._process = Process(program)
        self._leash.hold(self._process.mark)
        until(self._listens, 30, what="sshd listens")

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as asked:
                return asked.recv(4) == b"SSH-"
        except OSError:
            return False

    def sessions(self) -> list[psutil.Process]:
        """The processes of those who are logged in."""
        with suppress(psutil.NoSuchProcess):
            if self._process is not None:
                return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def signal(self, number: int) -> None:
        """To it and all of its sessions."""
        assert self._process is not None
        for each in [*self.sessions(), psutil.Process(self._process.pid)]:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    def hang_up(self) -> None:
        """Every session ends."""
        for each in self.sessions():
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def kill(self) -> None:
        """SIGKILL, sessions too."""
        self.signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        if self._process is not None:
            self.hang_up()
            self._process.end()
            self._leash.drop(self._process.mark)
            self._process = None


def keygen(*words: str) -> None:
    subprocess.run(["ssh-keygen", *words], check=True, capture_output=True)


def _reachable(directory: Path) -> Path:
    """Where the unpacked packages are, or a copy where only root could reach them."""
    if os.geteuid() != 0 or all(each.stat().st_mode & 0o001 for each in HOME.parents):
        return HOME
    copy = directory / "openssh"
    shutil.copytree(HOME, copy, symlinks=True)
    return copy
