"""The file beneath a spool: SQLite, on a local disk, for its owner's eyes only (0600).

A new file is made whole under another name and then linked to its own, so that nobody ever opens half a spool. What
SQLite and the disk raise becomes SpoolError here and nowhere else. Beside the file stands `….lock`: who holds it
empties the spool, and the kernel takes it back from a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from orders.errors import RelaisError

MARK: Final = 0x52454C53  # "RELS": SQLite's application_id of a spool
VERSION: Final = 1
LOCK_TIMEOUT: Final = 15.0  # s that a transaction of another process is waited for

SCHEMA: Final = f"""
PRAGMA application_id = {MARK};
PRAGMA user_version = {VERSION};
PRAGMA journal_mode = WAL;
CREATE TABLE orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    body BLOB NOT NULL, digest BLOB NOT NULL, spooled_at TEXT NOT NULL,
    kind TEXT, reason TEXT, refused_at TEXT
);
CREATE UNIQUE INDEX waiting ON orders (digest) WHERE kind IS NULL;
CREATE INDEX line ON orders (number) WHERE kind IS NULL;
CREATE INDEX refused ON orders (number) WHERE kind IS NOT NULL;
CREATE TABLE held (orders INTEGER NOT NULL, bytes INTEGER NOT NULL);
INSERT INTO held VALUES (0, 0);
CREATE TRIGGER came AFTER INSERT ON orders
    BEGIN UPDATE held SET orders = orders + 1, bytes = bytes + length(new.body); END;
CREATE TRIGGER went AFTER DELETE ON orders
    BEGIN UPDATE held SET orders = orders - 1, bytes = bytes - length(old.body); END;
"""
APPEND: Final = "INSERT INTO orders (body, digest, spooled_at) VALUES (?, ?, ?)"
KNOWN: Final = "SELECT number FROM orders WHERE digest = ? AND kind IS NULL"
HEAD: Final = "SELECT number, body FROM orders WHERE kind IS NULL AND number > ? ORDER BY number LIMIT ?"
REFUSED: Final = """SELECT number, body, spooled_at, kind, reason, refused_at FROM orders
    WHERE kind IS NOT NULL AND number > ? ORDER BY number LIMIT ?"""
REFUSE: Final = "UPDATE orders SET kind = ?, reason = ?, refused_at = ? WHERE number = ?"
STATUS: Final = """SELECT (SELECT count(*) FROM orders WHERE kind IS NULL),
    (SELECT count(*) FROM orders WHERE kind IS NOT NULL), held.bytes,
    (SELECT spooled_at FROM orders WHERE kind IS NULL ORDER BY number LIMIT 1) FROM held"""

PAGE: Final = 500
PAGE_BYTES: Final = 4 * 1024**2


class SpoolError(RelaisError):
    """The spool's file cannot be opened, read or written, or is no spool."""


class SpoolFull(SpoolError):
    """The spool holds as much as it may; this order is not in it."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Inside, what SQLite and the disk raise becomes SpoolError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SpoolError(f"the spool {path} cannot be used: {error}") from error
    except sqlite3.Error as error:
        raise SpoolError(f"the spool {path} is damaged, or is no spool: {error}; move it aside") from error
    except OSError as error:
        raise SpoolError(f"the spool {path} cannot be used: {error.strerror or error}") from error


def open_file(path: Path) -> sqlite3.Connection:
    """The spool at `path`, made when there is none. Raises SpoolError."""
    with translated(path):
        if not path.exists():
            _make(path)
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        base = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=LOCK_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _check(path, base)
            base.execute("PRAGMA synchronous = FULL")
            base.execute("PRAGMA secure_delete = ON")  # a note may be about a patient
        except BaseException:
            base.close()
            raise
    return base


def page(base: sqlite3.Connection, query: str, after: int, most: int) -> list[Any]:
    """Rows with a body in the second place, until they are too many or too large."""
    found, room = [], PAGE_BYTES
    for row in base.execute(query, (after, most)):
        found.append(row)
        if (room := room - len(row[1])) <= 0:
            break
    return found


@contextmanager
def turn(path: Path) -> Iterator[bool]:
    """True inside when it is this caller's turn to empty the spool, False while another has it. SpoolError."""
    with translated(path):
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(descriptor)


def _check(path: Path, base: sqlite3.Connection) -> None:
    mark, version = (base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if mark != MARK:
        raise SpoolError(f"{path} is no spool of Relais")
    if version != VERSION:
        raise SpoolError(f"the spool {path} is of version {version}; this Relais knows version {VERSION}")


def _make(path: Path) -> None:
    """Closing the last connection writes everything to the file itself, so that it can be linked without its WAL."""
    _make_directory(path.parent)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with closing(sqlite3.connect(fresh, isolation_level=None)) as base:
            base.executescript(SCHEMA)
        with suppress(FileExistsError):  # another process was quicker, and its file is as good
            os.link(fresh, path)
    finally:
        fresh.unlink()
    _sync(path.parent)


def _make_directory(directory: Path) -> None:
    if not directory.exists():
        _make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync(directory.parent)


def _sync(directory: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
