"""What the connector keeps of each order, in a directory of its own below `work`: all that a worker needs to know.

The directory comes into being whole, by one rename: `sent.json` (what was ordered) and `outgoing`, the file to hand
over. It is handed over by renaming `outgoing…` into the ERP's directory. So a directory without it belongs to an order
that was handed over, one with it to an order that was not, and of two workers with the same order one alone gets to
rename it, whoever is killed when. Whoever says that an order was not handed over gives `outgoing…` another name first:
what a server or a mount that hung does later finds nothing. What the ERP answers is kept as the directory is, the first
of each level once.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

from workers.erp.files.failures import FileTrouble, NotThere, PlaceFault, as_it_got_its_name, of_error
from workers.erp.files.names import control_of
from workers.erp.files.place import FilePlace
from workers.erp.files.verdicts import KeptAnswer, Sent
from workers.erp.port import Kind

SENT, OUTGOING, TOLD = "sent.json", "outgoing", "told.json"
DECIDED, ACKNOWLEDGED = "answer", "acknowledgement"
MOST_KEPT: Final = 4 * 1024 * 1024  # bytes of what we wrote ourselves


@dataclass(frozen=True, slots=True)
class OrderState:
    """What is known of an order: whether there is a record, the name of its file while that waits to be handed over,
    what the ERP decided, and what it acknowledged without deciding.
    """

    known: bool = False
    waiting: str = ""
    decided: KeptAnswer | None = None
    acknowledged: KeptAnswer | None = None


class OrderBook:
    """The records of all orders of one backend."""

    def __init__(self, place: FilePlace, work: str, orders: str) -> None:
        self._place, self._work, self._orders = place, work, orders

    async def present(self) -> None:
        """Raises PlaceFault where a directory is not there that must be: one that is not mounted tells nothing."""
        for directory in (self._work, self._orders):
            await self._place.stat(directory)

    async def state(self, order_id: UUID) -> OrderState:
        """Raises PlaceFault."""
        directory = self._of(control_of(order_id))
        try:
            names = await self._place.names(directory)
        except NotThere:
            await self.present()
            return OrderState()
        if SENT not in names:
            raise PlaceFault(FileTrouble.FAILED, f"{directory} has no {SENT}")
        decided = await self._told(directory, DECIDED) if DECIDED in names else None
        looks = ACKNOWLEDGED in names and decided is None
        acknowledged = await self._told(directory, ACKNOWLEDGED) if looks else None
        return OrderState(True, _waiting(names), decided, acknowledged)

    async def enter(self, order_id: UUID, sent: Mapping[str, Any], data: bytes) -> None:
        """Record an order with the file that is to be handed over; where it is recorded already, nothing changes.

        Raises PlaceFault; the ERP has nothing of it yet.
        """
        await self._publish(
            self._of(control_of(order_id)), {SENT: json.dumps(sent, ensure_ascii=False).encode(), _outgoing(): data}
        )

    async def hand_over(self, order_id: UUID, waiting: str, name: str) -> None:
        """Give the file of a recorded order its name in the ERP's directory, once. Raises PlaceFault."""
        directory = self._of(control_of(order_id))
        try:
            await self._place.move(f"{directory}/{waiting}", f"{self._orders}/{name}")
        except NotThere as error:
            await self._handed_over(directory, error)
            return
        except Exception as error:
            raise as_it_got_its_name(of_error(error, name)) from error
        await self._sync_both(directory)

    async def withdraw(self, order_id: UUID, waiting: str) -> None:
        """Let nobody hand the file over who does not look for it again. Raises PlaceFault, NotThere where somebody did
        so or handed it over meanwhile.
        """
        directory = self._of(control_of(order_id))
        await self._place.move(f"{directory}/{waiting}", f"{directory}/{_outgoing()}")
        await self._place.sync(directory)

    async def is_taken_away(self, name: str) -> bool:
        """Whether the ERP took the file. Raises PlaceFault."""
        try:
            await self._place.stat(f"{self._orders}/{name}")
        except NotThere:
            return True
        return False

    async def sent(self, control: str) -> Sent | None:
        """What was sent under a control reference; None where nothing was. Raises PlaceFault."""
        try:
            data = await self._place.read(f"{self._of(control)}/{SENT}", MOST_KEPT)
        except NotThere:
            await self.present()
            return None
        kept = json.loads(data)
        lines = tuple((product, quantity) for product, quantity in kept["lines"])
        return Sent(UUID(kept["id"]), lines, tuple(kept["articles"]), kept["file"])

    async def keep(self, control: str, told: KeptAnswer) -> KeptAnswer:
        """Keep an answer, unless one of its level is kept already; the one that counts. Raises PlaceFault."""
        directory = self._of(control)
        level = ACKNOWLEDGED if told.kind == Kind.PENDING else DECIDED
        data = json.dumps(asdict(told), ensure_ascii=False).encode()
        if await self._publish(f"{directory}/{level}", {TOLD: data}):
            return told
        return await self._told(directory, level)

    def _of(self, control: str) -> str:
        return f"{self._work}/orders/{control[:2]}/{control}"

    async def _told(self, directory: str, level: str) -> KeptAnswer:
        return KeptAnswer(**json.loads(await self._place.read(f"{directory}/{level}/{TOLD}", MOST_KEPT)))

    async def _publish(self, target: str, files: Mapping[str, bytes]) -> bool:
        """Let a directory with these files come into being at once; False where there is one already."""
        new, above = f"{self._work}/new/{secrets.token_hex(8)}", target.rpartition("/")[0]
        await self.make(new)
        for name, data in files.items():
            await self._place.write(f"{new}/{name}", data)
        await self._place.sync(new)
        try:
            made = await self._place.publish(new, target)
        except NotThere:
            await self.make(above)
            made = await self._place.publish(new, target)
        await self._place.sync(above)
        return made

    async def make(self, directory: str) -> None:
        """A directory below `work`, with those that it is in; never `work` itself. Raises PlaceFault."""
        try:
            await self._place.make(directory)
        except NotThere:
            above = directory.rpartition("/")[0]
            if above in ("", self._work) or not above.startswith(f"{self._work}/"):
                raise
            await self.make(above)
            await self._place.make(directory)
        await self._place.sync(directory.rpartition("/")[0])

    async def _handed_over(self, directory: str, error: NotThere) -> None:
        """Nothing was there to rename: another worker did it, or, which raises PlaceFault, a directory is gone."""
        try:
            names = await self._place.names(directory)
        except Exception as again:
            raise as_it_got_its_name(of_error(again, directory)) from again
        if SENT not in names or _waiting(names):
            raise error

    async def _sync_both(self, directory: str) -> None:
        """What goes wrong here is unknown: the ERP may have the file."""
        try:
            await self._place.sync(self._orders)
            await self._place.sync(directory)
        except Exception as error:
            met = of_error(error, self._orders)
            raise PlaceFault(FileTrouble.UNFORESEEN_HANDING_OVER, met.detail) from error


def _outgoing() -> str:
    """A name that no other worker knows yet."""
    return f"{OUTGOING}-{secrets.token_hex(4)}"


def _waiting(names: Iterable[str]) -> str:
    return next((each for each in names if each.startswith(OUTGOING)), "")
