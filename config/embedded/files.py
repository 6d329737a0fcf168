"""Private files of the data directory: secrets and records that are whole or not there, for their owner only."""

from __future__ import annotations

import importlib.util
import os
import secrets
from pathlib import Path

ROTATE_AT = 10 * 1024 * 1024


def write_private(path: Path, content: str | bytes) -> None:
    """Put `content` at `path` with mode 0600, on disk, at once: no reader and no power cut sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def secret(path: Path) -> str:
    """The password kept at `path`; made up and written when there is none."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8").strip()


def open_log(path: Path) -> int:
    """A descriptor that appends to the log at `path` (0600); one that has grown past 10 MiB is set aside first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.stat().st_size > ROTATE_AT:
        path.replace(path.with_name(path.name + ".1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def wheel_of(package: str) -> Path | None:
    """Where an installed package lies; it is not imported, for such a wheel may warn and register exit handlers."""
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None


def tail(path: Path, lines: int = 5) -> str:
    """The last `lines` lines of a log, or nothing."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def sync_directory(path: Path) -> None:
    """Have the names in it on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
