"""What can go wrong between Relais and a directory, here or over SFTP, and what it says about the order.

One step hands an order over: the file gets its name in the ERP's directory, by one rename. Until that was asked for,
the ERP surely has nothing of the order; a rename whose answer never came is unknown, and what a server says of one that
failed is believed. Another host key than the pinned ones is what another certificate is over TLS: somebody else answers
in the ERP's place, so nothing is sent and the backend goes into quarantine.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

import asyncssh

from workers.erp.failures import TABLE as ANY
from workers.erp.failures import Again, Failure, Met
from workers.erp.port import Evidence, Kind, Outcome


class FileTrouble(StrEnum):
    """What can be met on the way to a directory and in it."""

    UNREACHABLE = "unreachable"
    HOST_KEY = "host key"
    LOGIN = "login"
    NO_SFTP = "no sftp"
    LOST = "lost"
    LOST_HANDING_OVER = "lost handing over"
    LATE = "late"
    LATE_HANDING_OVER = "late handing over"
    GONE = "gone"
    DENIED = "denied"
    FULL = "full"
    READ_ONLY = "read only"
    APART = "apart"
    FAILED = "failed"
    UNFORESEEN = "unforeseen"
    UNFORESEEN_HANDING_OVER = "unforeseen handing over"


TABLE: Final[Mapping[FileTrouble, Failure]] = {
    FileTrouble.UNREACHABLE: Failure(Kind.TRANSIENT, "no connection to the SFTP server", Again.BRIEFLY),
    FileTrouble.HOST_KEY: Failure(
        Kind.SUSPICIOUS, "another host key than the pinned ones", evidence=Evidence.WRONG_CERTIFICATE
    ),
    FileTrouble.LOGIN: Failure(Kind.TRANSIENT, "the SFTP server does not let us in, no fault of the order"),
    FileTrouble.NO_SFTP: Failure(Kind.TRANSIENT, "the server speaks no SFTP with us"),
    FileTrouble.LOST: Failure(Kind.TRANSIENT, "the connection broke before the file had its name"),
    FileTrouble.LOST_HANDING_OVER: Failure(Kind.UNKNOWN, "the connection broke as the file got its name"),
    FileTrouble.LATE: Failure(Kind.TRANSIENT, "out of time before the file had its name"),
    FileTrouble.LATE_HANDING_OVER: Failure(Kind.UNKNOWN, "out of time as the file got its name"),
    FileTrouble.GONE: Failure(Kind.TRANSIENT, "a directory is not there"),
    FileTrouble.DENIED: Failure(Kind.TRANSIENT, "permission denied, no fault of the order"),
    FileTrouble.FULL: Failure(Kind.TRANSIENT, "no space is left, or a quota is used up"),
    FileTrouble.READ_ONLY: Failure(Kind.TRANSIENT, "the file system is read-only"),
    FileTrouble.APART: Failure(Kind.TRANSIENT, "the directories must lie on one file system, and do not"),
    FileTrouble.FAILED: Failure(Kind.TRANSIENT, "the server or the file system failed, and said so"),
    FileTrouble.UNFORESEEN: Failure(Kind.TRANSIENT, "something that was not foreseen, before the file had its name"),
    FileTrouble.UNFORESEEN_HANDING_OVER: Failure(Kind.UNKNOWN, "something that was not foreseen as it got its name"),
}

_AS_IT_GOT_ITS_NAME: Final = {
    FileTrouble.LOST: FileTrouble.LOST_HANDING_OVER,
    FileTrouble.LATE: FileTrouble.LATE_HANDING_OVER,
    FileTrouble.UNFORESEEN: FileTrouble.UNFORESEEN_HANDING_OVER,
}
_ERRNO: Final = {
    errno.ENOENT: FileTrouble.GONE,
    errno.ENOTDIR: FileTrouble.GONE,
    errno.ESTALE: FileTrouble.GONE,
    errno.EACCES: FileTrouble.DENIED,
    errno.EPERM: FileTrouble.DENIED,
    errno.ENOSPC: FileTrouble.FULL,
    errno.EDQUOT: FileTrouble.FULL,
    errno.EROFS: FileTrouble.READ_ONLY,
    errno.EXDEV: FileTrouble.APART,
}
_SSH: Final[tuple[tuple[type[Exception], FileTrouble], ...]] = (
    (asyncssh.HostKeyNotVerifiable, FileTrouble.HOST_KEY),
    (asyncssh.PermissionDenied, FileTrouble.LOGIN),
    (asyncssh.KeyExchangeFailed, FileTrouble.NO_SFTP),
    (asyncssh.ProtocolNotSupported, FileTrouble.NO_SFTP),
    (asyncssh.ChannelOpenError, FileTrouble.NO_SFTP),
    (asyncssh.SFTPNoSuchFile, FileTrouble.GONE),
    (asyncssh.SFTPNoSuchPath, FileTrouble.GONE),
    (asyncssh.SFTPPermissionDenied, FileTrouble.DENIED),
    (asyncssh.SFTPWriteProtect, FileTrouble.READ_ONLY),
    (asyncssh.SFTPNoSpaceOnFilesystem, FileTrouble.FULL),
    (asyncssh.SFTPQuotaExceeded, FileTrouble.FULL),
    (asyncssh.SFTPNoConnection, FileTrouble.LOST),
    (asyncssh.SFTPConnectionLost, FileTrouble.LOST),
    (asyncssh.SFTPError, FileTrouble.FAILED),
    (asyncssh.Error, FileTrouble.LOST),
)


class PlaceFault(Exception):
    """A failure of a directory: `trouble`, and what exactly, without a secret in it."""

    def __init__(self, trouble: FileTrouble, detail: str) -> None:
        super().__init__(detail)
        self.trouble, self.detail = trouble, detail


class NotThere(PlaceFault):
    """A file, or the directory that it would be in, is not there."""

    def __init__(self, path: str) -> None:
        super().__init__(FileTrouble.GONE, path)


class FileTooLarge(Exception):
    """A file holds more than may be read."""


def of_error(error: Exception, what: str) -> PlaceFault:
    """The failure that an exception is; `what` says what was tried, as `write in/x.edi`."""
    if isinstance(error, PlaceFault):
        return error
    trouble = _trouble(error)
    if trouble is FileTrouble.GONE:
        return NotThere(what)
    words = error.reason if isinstance(error, asyncssh.Error) else getattr(error, "strerror", None)
    return PlaceFault(trouble, f"{what}: {words or type(error).__name__}")


def as_it_got_its_name(met: PlaceFault) -> PlaceFault:
    """The same failure, met by the rename that hands an order over."""
    return PlaceFault(_AS_IT_GOT_ITS_NAME.get(met.trouble, met.trouble), met.detail)


def unasked(outcome: Outcome) -> Outcome:
    """Nothing was learned of any order; all that can be certain is that the server is suspicious."""
    kind = Kind.SUSPICIOUS if outcome.kind is Kind.SUSPICIOUS else Kind.UNKNOWN
    return replace(outcome, kind=kind, detail=f"could not be asked: {outcome.detail}")


def unsent_order(says: str) -> dict[str, Any]:
    """What an outcome bears where an answer was read to an order that was never sent, as it `says`."""
    failure = ANY[Met.UNSENT_ORDER]
    return {
        "kind": failure.kind,
        "detail": f"{failure.says}: {says}",
        "evidence": failure.evidence,
        "receipt": None,
        "answer": says.encode(),
    }


def _trouble(error: Exception) -> FileTrouble:
    for kind, trouble in _SSH:
        if isinstance(error, kind):
            return trouble
    if isinstance(error, TimeoutError):
        return FileTrouble.LATE
    if isinstance(error, ConnectionError):
        return FileTrouble.LOST
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0, FileTrouble.FAILED)
    return FileTrouble.UNFORESEEN
