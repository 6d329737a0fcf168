"""The spill: where orders go while PostgreSQL is away, whole and signed, until the leading dispatcher journals them.

Here is what is spilled and how it is signed; where to is handed in (`Store`), since this room knows no Redis. Whoever
can write to that store can forge nothing: a record without a good signature is kept aside and reported.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

from pydantic import SecretStr, ValidationError

from orders.errors import Conflict, KeyReused, RelaisError
from orders.intake.entries import Accepted, Entry
from orders.intake.routing import Routing
from orders.model import RANK, Order, canonical, digest

VERSION: Final = b"1"
MOST_KEPT: Final = 2 * 1024 * 1024  # bytes of a record that is set aside; none of ours is longer


class SpillDown(Exception):
    """The spill cannot be trusted to keep an order: out of reach, full, or not on disk before it answers."""


class Forged(Exception):
    """A record that was not signed with a key of ours."""


class Unreadable(Exception):
    """A record with a good signature that this version cannot read."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the store remembers of a record so that it is spilled once: a name, and a signed id and digest."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One record and the notes that go with it: of its (pharmacy, reference), then of its Idempotency-Key."""

    raw: bytes
    notes: tuple[Note, ...]


class Store(Protocol):
    """Where records are kept, on disk before it answers."""

    async def put(self, records: Sequence[Record], *, force: bool = False) -> list[list[bytes | None]]:
        """Append the records, but none of which a note is there already: for each, the values found of its notes.

        With `force` they are appended whatever is there. Raises SpillDown; the records may be there all the same.
        """
        ...

    async def check(self) -> None:
        """Raise SpillDown unless records would be on disk before `put` answers."""
        ...

    async def head(self, count: int) -> list[bytes]:
        """The oldest records. Raises SpillDown."""
        ...

    async def drop(self, records: Sequence[bytes], names: Sequence[bytes]) -> bool:
        """Drop these records, if they are still the oldest, and the notes of these names. Raises SpillDown."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class SpillSigner:
    """Signs and verifies with keys that intake and workers share: the first signs, any of them verifies."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def of(cls, secret: SecretStr) -> SpillSigner:
        """From the setting: keys of 16 characters or more, separated by commas."""
        return cls(tuple(key.strip().encode() for key in secret.get_secret_value().split(",")))

    def sign(self, purpose: bytes, message: bytes) -> bytes:
        """64 hexadecimal digits."""
        return _mac(self.keys[0], purpose, message)

    def verifies(self, purpose: bytes, message: bytes, mac: bytes) -> bool:
        """True when one of the keys made this signature, for this purpose."""
        return any(hmac.compare_digest(_mac(key, purpose, message), mac) for key in self.keys)


def _mac(key: bytes, purpose: bytes, message: bytes) -> bytes:
    return hmac.new(key, b"relais." + purpose + b"." + message, hashlib.sha256).hexdigest().encode()


def seal(each: Entry, key: SpillSigner) -> Record:
    """The record of an entry, which must carry `received_at`."""
    assert each.received_at is not None
    content = {
        "id": str(each.id),
        "client": each.client,
        "received_at": each.received_at.isoformat(),
        "request_id": each.request_id,
        "key": each.key,
        "origin": each.origin,
        "body": each.body.decode(),
        "traceparent": each.traceparent,
    }
    message = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    value = f"{each.id}|{each.digest.hex()}".encode()
    notes = [Note(name, value + b"|" + key.sign(b"note", name + b"|" + value)) for name in names(each)]
    return Record(b".".join((VERSION, key.sign(b"spill", message), message)), tuple(notes))


def names(each: Entry) -> list[bytes]:
    """The names of an entry's notes."""
    found = [f"r\x1f{each.pharmacy}\x1f{each.reference}".encode()]
    return found if each.key is None else [*found, f"k\x1f{each.client}\x1f{each.key}".encode()]


def unseal(raw: bytes, key: SpillSigner, route: Routing) -> Entry:
    """The entry in a record, which is routed now: the record does not say where. Raises Forged and Unreadable."""
    version, _, rest = raw.partition(b".")
    mac, _, message = rest.partition(b".")
    if version != VERSION or not key.verifies(b"spill", message, mac):
        raise Forged("not signed with a key of ours")
    try:
        content: dict[str, Any] = json.loads(message)
        order = Order.model_validate_json(content["body"])
        body = canonical(order)
        return Entry(
            UUID(content["id"]),
            order.pharmacy,
            order.reference,
            body,
            digest(body),
            content["client"],
            RANK[order.priority],
            order.cut_off,
            order.valid_until,
            datetime.fromisoformat(content["received_at"]),
            content["request_id"],
            content["key"],
            content["origin"],
            route(order),
            content.get("traceparent"),
        )
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise Unreadable(type(error).__name__) from None


async def spill(entries: Sequence[Entry], store: Store, key: SpillSigner) -> list[Accepted | RelaisError]:
    """Put entries into the spill; what came of each: accepted, repeated, Conflict or KeyReused.

    An earlier record counts only where its note has a good signature: a note that somebody forged would turn an
    order away. Raises SpillDown.
    """
    now = datetime.now(UTC)
    entries = [each._replace(received_at=now) for each in entries]
    records = [seal(each, key) for each in entries]
    answers: list[Accepted | RelaisError] = []
    forged: list[int] = []
    for number, (each, record, found) in enumerate(zip(entries, records, await store.put(records), strict=True)):
        verdict = _verdict(each, record, found, key)
        if verdict is None:
            forged.append(number)
        answers.append(verdict or Accepted(each.id, False, "spill"))
    if forged:
        await store.put([records[number] for number in forged], force=True)
    return answers


def _verdict(
    each: Entry, record: Record, found: Sequence[bytes | None], key: SpillSigner
) -> Accepted | RelaisError | None:
    """What the notes that were found say of an entry; None when it was not put for no good reason."""
    firsts = []
    for note, value in zip(record.notes, found, strict=True):
        said, _, mac = (value or b"").rpartition(b"|")
        if value is not None and not key.verifies(b"note", note.name + b"|" + said, mac):
            return None
        firsts.append(tuple(said.decode().split("|")) if value else None)
    first, keyed = firsts[0], firsts[1] if len(firsts) > 1 else None
    mine = each.digest.hex()
    if keyed is not None and keyed[1] != mine:
        return KeyReused(keyed[0])
    if first is None:
        return Accepted(each.id, False, "spill") if keyed is None else None
    if first[1] != mine:
        return Conflict(first[0])
    return Accepted(UUID(first[0]), repeated=UUID(first[0]) != each.id, kept="spill")
