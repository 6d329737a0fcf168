"""The system user that PostgreSQL steps down to when Relais runs as root, which PostgreSQL refuses to do.

Chosen once a run: `relais-postgres`, made with `useradd` where that is possible, else `pgserver` where the wheel
made it, else `nobody`. Only what it must reach is opened to it, and no more than is needed for that.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import shutil
import stat
import subprocess
from functools import cache
from pathlib import Path

from config.embedded.process import Account

log = logging.getLogger(__name__)

OWN = "relais-postgres"
OTHERS = ("pgserver", "nobody")
TURN = "/etc"  # whoever adds the user holds this directory's lock meanwhile


@cache
def lesser_account() -> Account | None:
    """The user to step down to; None when this process is not root and stays who it is."""
    if os.geteuid() != 0:
        return None
    _make(OWN)
    for name in (OWN, *OTHERS):
        if (entry := _entry(name)) is not None:
            if name != OWN:
                log.warning("PostgreSQL has no user of its own: useradd failed", extra={"user": name})
            return Account(entry.pw_uid, entry.pw_gid)
    raise RuntimeError(f"PostgreSQL does not run as root and there is no user {OWN}; make one with useradd")


def let_through(path: Path) -> None:
    """Give the directories above `path` the traverse bit for others where it is missing: pass, not look."""
    for directory in reversed(path.resolve().parents):
        mode = stat.S_IMODE(directory.stat().st_mode)
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
            log.warning("directory made traversable for PostgreSQL's user", extra={"path": directory})


def let_read(tree: Path, witness: Path) -> None:
    """Let others read an installed tree that a strict umask closed, of which `witness` is one file."""
    if witness.stat().st_mode & stat.S_IROTH:
        return
    for path in (tree, *tree.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            runs = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
            path.chmod(stat.S_IMODE(mode) | stat.S_IROTH | (stat.S_IXOTH if runs else 0))


def give(tree: Path, account: Account) -> None:
    """Make `account` the owner of the tree, unless it is already."""
    if tree.stat().st_uid == account.uid:
        return
    for path in (*tree.rglob("*"), tree):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _make(name: str) -> None:
    """Try to add the user, one process at a time; a system without useradd is no fault.

    Of two at once, the useradd that comes second writes over what the first wrote, with another number (shadow-utils
    4.13 looks for the name before it takes its lock), and the first process would run as a user that is gone.
    """
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if _entry(name) is not None or useradd is None:
        return
    turn = os.open(TURN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if _entry(name) is None:
            words = [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
            subprocess.run(words, check=False, capture_output=True, timeout=30)
    finally:
        os.close(turn)


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
