"""What would go wrong with an exchange of files: log-in, its three directories, the clock there, and what waits.

That a file can be renamed from one directory into another is tried with an empty directory, which nobody takes who
reads files: it goes from `work` into each of the others, under a name that is given to what is not ready, and is gone.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from config.durations import span
from config.settings import Settings
from orders.sentences import count
from workers.erp.checks.address import CLOCK, compared
from workers.erp.checks.finding import CheckFinding, CheckVerdict, within
from workers.erp.failures import printable
from workers.erp.files.book import OrderBook
from workers.erp.files.failures import TABLE, FileTooLarge, FileTrouble, NotThere, PlaceFault
from workers.erp.files.options import FilesOptions
from workers.erp.files.place import FilePlace, is_ready_name
from workers.erp.files.reading import REASON, AnswerReader

HOST_KEY: Final = "host key"
CREDENTIALS: Final = "credentials"
UNTAKEN: Final = "orders that wait"
UNREAD: Final = "answers that wait"
ASIDE: Final = "answers set aside"
LONG: Final = 600.0  # seconds after which it is said that something waits
LATELY: Final = 86_400.0  # seconds in which a file that was set aside counts
MOST_REASON: Final = 64 * 1024  # bytes


class FileExchange(NamedTuple):
    """What is looked at, and by whose settings."""

    place: FilePlace
    book: OrderBook
    reader: AnswerReader
    settings: Settings
    own: FilesOptions


Look = Callable[[FileExchange], Awaitable[CheckFinding]]


async def look(at: FileExchange, budget: float) -> AsyncIterator[CheckFinding]:
    """Each finding, a look of at most `budget` seconds each; after a log-in that failed there is no other."""
    if at.own.sftp is not None:
        entered = await within(budget, CREDENTIALS, _entered(at, at.own.sftp.user), CheckVerdict.WOULD_FAIL)
        if entered.verdict is CheckVerdict.OK:
            yield CheckFinding(HOST_KEY, CheckVerdict.OK, "a pinned one")
        yield entered
        if entered.verdict is not CheckVerdict.OK:
            return
    for name in ("work", "orders", "answers"):
        yield await within(budget, name, _directory(at, name), CheckVerdict.WOULD_FAIL)
    for name, each in LOOKS:
        yield await within(budget, name, _if_told(name, each(at)))


async def _entered(at: FileExchange, user: str) -> CheckFinding:
    try:
        await at.place.stat(at.own.work)
    except PlaceFault as met:
        if met.trouble not in (FileTrouble.GONE, FileTrouble.DENIED, FileTrouble.FAILED):
            return _failed(HOST_KEY if met.trouble is FileTrouble.HOST_KEY else CREDENTIALS, met)
    return CheckFinding(CREDENTIALS, CheckVerdict.OK, f"{user} may log in")


async def _directory(at: FileExchange, name: str) -> CheckFinding:
    """Whether a directory is there, and takes what is renamed out of `work`."""
    path, mark = getattr(at.own, name), secrets.token_hex(8)
    here, there = f"{at.own.work}/new/{mark}", f"{path}/.relais-{mark}.tmp"
    try:
        await (at.place.stat(path) if name == "orders" else at.place.names(path))
        await at.book.make(here)
        try:
            await at.place.move(here, there)
        except PlaceFault:
            await at.place.unmake(here)
            raise
        await at.place.unmake(there)
    except PlaceFault as met:
        return _failed(name, met)
    unsynced = "" if at.place.syncs else "; the server cannot sync: files are on disk when it sees fit"
    told = "may be listed and written to" if name == "work" else "what is written in work can be renamed into it"
    return CheckFinding(name, CheckVerdict.OK, f"{path} is there, and {told}{unsynced}")


async def _if_told(name: str, found: Awaitable[CheckFinding]) -> CheckFinding:
    try:
        return await found
    except PlaceFault as met:
        return _failed(name, met, CheckVerdict.NOT_KNOWN)


async def _clock(at: FileExchange) -> CheckFinding:
    before = datetime.now(UTC).timestamp()
    theirs = await at.reader.clock()
    ours = (before + datetime.now(UTC).timestamp()) / 2
    return compared(CLOCK, theirs - ours, at.settings)


async def _untaken(at: FileExchange) -> CheckFinding:
    """How long orders have been waiting for the ERP to take them away."""
    waiting = [each for each in await at.place.files(at.own.orders) if is_ready_name(each.name)]
    if not waiting:
        return CheckFinding(UNTAKEN, CheckVerdict.OK, "none: the ERP has taken all of them away")
    oldest, most = await at.reader.clock() - waiting[0].modified, at.settings.erp.ack_within
    told = f"{count(len(waiting), 'file')}, the oldest written {span(oldest)} ago"
    if most is not None and oldest > most:
        return CheckFinding(UNTAKEN, CheckVerdict.WOULD_FAIL, f"{told}, more than RELAIS_ERP_ACK_WITHIN ({most:g} s)")
    if most is None and oldest > LONG:
        return CheckFinding(UNTAKEN, CheckVerdict.NOT_KNOWN, f"{told}; set RELAIS_ERP_ACK_WITHIN, to say what is long")
    return CheckFinding(UNTAKEN, CheckVerdict.OK, told)


async def _unread(at: FileExchange) -> CheckFinding:
    """How long answers have been waiting to be read, and whether the oldest can be."""
    waiting = await at.reader.waiting()
    if not waiting:
        others = len(await at.place.files(at.own.answers))
        told = f"; {count(others, 'file')} with names that are not ours to read" if others else ""
        return CheckFinding(UNREAD, CheckVerdict.OK, f"none{told}")
    oldest = await at.reader.clock() - waiting[0].modified
    told = f"{count(len(waiting), 'file')}, the oldest written {span(oldest)} ago"
    try:
        await at.place.read(f"{at.own.answers}/{waiting[0].name}", at.own.most_bytes)
    except NotThere:
        pass  # a worker was quicker
    except PlaceFault as met:
        return _failed(UNREAD, met)
    except FileTooLarge:
        why = f"{told}; it has over {at.own.most_bytes} bytes, and will be set aside"
        return CheckFinding(UNREAD, CheckVerdict.WOULD_FAIL, why)
    if oldest > at.own.steady + LONG:
        why = f"{told}: a worker reads them while orders are pending"
        return CheckFinding(UNREAD, CheckVerdict.NOT_KNOWN, why)
    return CheckFinding(UNREAD, CheckVerdict.OK, told)


async def _aside(at: FileExchange) -> CheckFinding:
    """Whether answers were set aside lately, and why the last one was."""
    aside = f"{at.own.work}/aside"
    try:
        found = await at.place.files(aside)
    except NotThere:
        found = []
    names = {each.name for each in found}
    reasons = [each for each in found if each.name.endswith(REASON) and each.name.removesuffix(REASON) in names]
    if not reasons:
        return CheckFinding(ASIDE, CheckVerdict.OK, "none")
    since = await at.reader.clock() - LATELY
    lately = [each for each in reasons if each.modified > since]
    if not lately:
        return CheckFinding(ASIDE, CheckVerdict.OK, f"none in the last day, {len(reasons)} before")
    why = await _reason(at.place, f"{aside}/{lately[-1].name}")
    told = f"{len(lately)} in the last day; the last, {aside}/{lately[-1].name.removesuffix(REASON)}: {why}"
    return CheckFinding(ASIDE, CheckVerdict.WOULD_FAIL, printable(told))


async def _reason(place: FilePlace, path: str) -> str:
    return (await place.read(path, MOST_REASON)).decode("utf-8", "replace")


def _failed(name: str, met: PlaceFault, verdict: CheckVerdict = CheckVerdict.WOULD_FAIL) -> CheckFinding:
    return CheckFinding(name, verdict, printable(f"{TABLE[met.trouble].says}: {met.detail}"))


LOOKS: Final[Sequence[tuple[str, Look]]] = (
    (CLOCK, _clock),
    (UNTAKEN, _untaken),
    (UNREAD, _unread),
    (ASIDE, _aside),
)
