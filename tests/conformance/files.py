"""The counterparts of kind `files`: an EDI partner that others wrote, behind a directory and behind a real OpenSSH.

What cannot be done to a directory is done to it as to a mount: while the ERP is down or hangs the directory is not
there, a connection is cut by taking it away, and whoever is locked out has no permission to it.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from config.embedded.leash import Leash
from config.settings import Settings
from orders.model import parse
from tests.machines.edi import ARTICLES, ITSELF, MORE_THAN_STOCK, PARTNER, SCARCE, EdiPartner
from tests.machines.erp import an_order, settings_for
from tests.machines.sshd import NOBODY, USER, Sshd
from workers.erp.port import Mapped, Submission

EDIFACT = f"""
format = "edifact"
steady = 0
answer_names = ["*-CONTRL-*", "*-ORDRSP-*"]
[edifact]
sender = "{PARTNER}"
recipient = "{ITSELF}"
recipient_qualifier = "ZZ"
articles = "mapped"
customers = "mapped"
"""

ANSWER = (
    "UNA:+.? 'UNB+UNOC:3+{us}:ZZ+{them}:14+261130:0930+P1'UNH+1+ORDRSP:D:96A:UN'BGM+231+P-1+9+AP'"
    "RFF+ON:{number}'UNS+S'UNT+5+1'UNZ+1+P1'"
)


class Directory:
    """mock-edi behind a directory of this machine."""

    def __init__(self, directory: Path, leash: Leash) -> None:
        self.edi = EdiPartner(self._base(directory, leash), leash)
        self.port = self.edi.port
        self._file = directory / "files.toml"
        self._file.write_text(EDIFACT)
        self._away = self.edi.directory.with_name("away")

    def _base(self, directory: Path, leash: Leash) -> Path:
        return directory / "exchange"

    def start(self) -> None:
        self._mount()
        self.edi.start()

    def kill(self) -> None:
        self.edi.kill()
        self._unmount()

    def freeze(self) -> None:
        self.edi.signal(signal.SIGSTOP)
        self._unmount()

    def thaw(self) -> None:
        self._mount()
        self.edi.signal(signal.SIGCONT)

    def close(self) -> None:
        self._let_in()
        self.edi.close()

    def wire(self) -> _Mount:
        """What a test cuts instead of a connection."""
        return _Mount(self)

    def settings(self, port: int | None = None) -> Settings:
        return settings_for(f"file://{self.edi.directory}", erp_kind="files", erp_connector=self._file)

    def order(self, *quantities: int) -> Submission:
        return self._mapped(an_order(*quantities), *ARTICLES)

    def refused(self) -> Submission:
        """Of an article that it has not."""
        return self._mapped(an_order(1), "NO-SUCH-ARTICLE")

    def substitute(self) -> Submission:
        pytest.skip("mock-edi has no behaviour that replaces a product")

    def back_order(self) -> Submission:
        """Of an article of which it has fewer in stock."""
        return self._mapped(an_order(MORE_THAN_STOCK), SCARCE)

    def log_out(self) -> None:
        pass  # nobody logs in to a directory

    def lock_out(self) -> None:
        for each in ("orders", "answers", "relais"):
            (self.edi.directory / each).chmod(0o000)
        if os.geteuid() == 0:  # to whom no permission is denied
            os.seteuid(NOBODY)

    def effects(self) -> Counter[UUID]:
        with self._as_root():
            return self.edi.effects()

    def forget(self) -> None:
        self.edi.forget()

    def plant(self) -> UUID:
        """An answer to an order that looks like one of ours, and was never sent."""
        planted = uuid4()
        file = self.edi.directory / "answers" / f"{PARTNER}-ORDRSP-planted.edi"
        file.write_text(ANSWER.format(us=ITSELF, them=PARTNER, number=planted.hex.upper()))
        return planted

    def _mapped(self, made: Submission, *articles: str) -> Submission:
        order = parse(made.body)
        named = tuple(articles[number % len(articles)] for number in range(len(order.lines)))
        return replace(made, order=order, mapped=Mapped("C-0001", None, None, named))

    def _mount(self) -> None:
        if self._away.exists():
            self._away.rename(self.edi.directory)

    def _unmount(self) -> None:
        if not self._away.exists():
            self.edi.directory.rename(self._away)

    def _let_in(self) -> None:
        if os.getuid() == 0:
            os.seteuid(0)
        for each in ("orders", "answers", "relais"):
            (self.edi.directory / each).chmod(0o777)

    @contextmanager
    def _as_root(self) -> Iterator[None]:
        before = os.geteuid()
        os.seteuid(os.getuid())
        try:
            yield
        finally:
            os.seteuid(before)


class _Mount:
    """A mount that a test takes away; it is there again in the end."""

    def __init__(self, of: Directory) -> None:
        self._of, self.port = of, of.port

    def __enter__(self) -> _Mount:
        return self

    def __exit__(self, *_: object) -> None:
        if self._of._away.exists():
            self._of.thaw()

    def cut(self) -> None:
        self._of.freeze()  # else the partner makes the directory anew that was taken away


class OverSftp(Directory):
    """mock-edi behind OpenSSH, whose user is not root."""

    sshd: Sshd

    def __init__(self, directory: Path, leash: Leash) -> None:
        super().__init__(directory, leash)
        self.port = self.sshd.port
        for name in ("orders", "answers", "relais"):
            (self.edi.directory / name).chmod(0o777)
        shutil.copy(self.sshd.key, directory / "key")
        self._file.write_text(
            EDIFACT + f'[sftp]\nuser = "{USER}"\nkey_file = "key"\nhost_keys = ["{self.sshd.fingerprint()}"]\n'
        )

    def _base(self, directory: Path, leash: Leash) -> Path:
        self.sshd = Sshd(directory / "sshd", leash)
        return self.sshd.base / "exchange"

    def start(self) -> None:
        self.edi.start()
        self.sshd.start()

    def kill(self) -> None:
        self.sshd.kill()
        self.edi.kill()

    def freeze(self) -> None:
        self.sshd.signal(signal.SIGSTOP)
        self.edi.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.edi.signal(signal.SIGCONT)
        self.sshd.signal(signal.SIGCONT)

    def close(self) -> None:
        self.sshd.close()
        self.edi.close()

    wire = None  # there is a connection to cut

    def settings(self, port: int | None = None) -> Settings:
        url = f"sftp://127.0.0.1:{port or self.port}{self.edi.directory}"
        return settings_for(url, erp_kind="files", erp_connector=self._file)

    def log_out(self) -> None:
        self.sshd.hang_up()

    def lock_out(self) -> None:
        self.sshd.let_nobody_in()
        self.sshd.hang_up()
