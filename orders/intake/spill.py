"""The spill: where orders go while PostgreSQL is away, whole and signed, until the leading dispatcher journals them.

Here is what is spilled and how it is signed; where to is `orders.intake.store`. Whoever can write to that store can
forge nothing: a record without a good signature is kept aside and reported.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from pydantic import SecretStr, ValidationError

from orders.errors import Conflict, KeyReused, RelaisError
from orders.intake.entries import Accepted, Entry
from orders.intake.routing import Routing
from orders.intake.store import Note, Record, Store
from orders.model import RANK, Order, canonical, digest
from orders.refusals import NotDone
from orders.sentences import Sentence

VERSION: Final = b"1"
MOST_KEPT: Final = 2 * 1024 * 1024  # bytes of a record that is set aside; none of ours is longer
FIRST: Final = 1024  # bytes that are kept of a record that is ours under no key
SIGNED: Final = re.compile(rb"%b\.[0-9a-f]{64}\.\{" % VERSION)  # how each of ours begins


class Forged(Exception):
    """A record that was not signed with a key of ours."""


class Unreadable(Exception):
    """A record with a good signature that this version cannot read; `told` is the id that was answered for it."""

    def __init__(self, why: Sentence, told: UUID | None) -> None:
        super().__init__(why)
        self.told = told


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


def seal(each: Entry, key: SpillSigner, doubted: bool = False) -> Record:
    """The record of an entry, which must carry `received_at`; `doubted` says that the journal may have it, too."""
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
        **({"doubted": True} if doubted else {}),
    }
    message = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    value = f"{each.id}|{each.digest.hex()}".encode()
    notes = [Note(name, value + b"|" + key.sign(b"note", name + b"|" + value)) for name in names(each)]
    raw = b".".join((VERSION, key.sign(b"spill", message), message))
    return Record(str(each.id).encode(), raw, tuple(notes))


def names(each: Entry) -> list[bytes]:
    """The names of an entry's notes."""
    found = [name_of(each.pharmacy, each.reference)]
    return found if each.key is None else [*found, f"k\x1f{each.client}\x1f{each.key}".encode()]


def name_of(pharmacy: str, reference: str) -> bytes:
    """The name of the note of a pharmacy's reference."""
    return f"r\x1f{pharmacy}\x1f{reference}".encode()


def unseal(raw: bytes, key: SpillSigner, route: Routing) -> Entry:
    """The entry in a record, which is routed now: the record does not say where. Raises Forged and Unreadable."""
    version, _, rest = raw.partition(b".")
    mac, _, message = rest.partition(b".")
    if version != VERSION or not key.verifies(b"spill", message, mac):
        raise Forged(Sentence(NotDone.NOT_SIGNED))
    told: UUID | None = None
    try:
        content: dict[str, Any] = json.loads(message)
        told = UUID(content["id"])
        order = Order.model_validate_json(content["body"])
        body = canonical(order)
        return Entry(
            told,
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
        raise Unreadable(Sentence(NotDone.NOT_READ, fault=type(error).__name__), told) from None


def is_doubted(raw: bytes) -> bool:
    """Whether the journal may have the order of a record that `unseal` has read."""
    return bool(json.loads(raw.split(b".", 2)[2]).get("doubted"))


def worth_keeping(raw: bytes) -> bytes:
    """What is kept of a record that our keys did not sign: all, where another key of ours may have."""
    return raw if len(raw) <= MOST_KEPT and SIGNED.match(raw) else raw[:FIRST]


async def spill(
    entries: Sequence[Entry], store: Store, key: SpillSigner, doubted: Collection[UUID]
) -> tuple[list[Accepted | RelaisError], bytes]:
    """Put entries into the spill; what came of each (accepted, repeated, Conflict or KeyReused), and the store's era.

    The journal may have those in `doubted`, too. An earlier record counts only where its note has a good signature: a
    note that somebody forged would turn an order away. Raises SpillDown.
    """
    now = datetime.now(UTC)
    entries = [each._replace(received_at=now) for each in entries]
    records = [seal(each, key, each.id in doubted) for each in entries]
    put = await store.put(records)
    verdicts = [verdict(each, found, key) for each, found in zip(entries, put.found, strict=True)]
    answers = [said or Accepted(each.id, False, "spill") for each, said in zip(entries, verdicts, strict=True)]
    forged = [
        record
        for record, found, said in zip(records, put.found, verdicts, strict=True)
        if said is None and any(value is not None for value in found)
    ]
    if forged:
        await store.put(forged, force=True)
    return answers, put.era


def verdict(each: Entry, found: Sequence[bytes | None], key: SpillSigner) -> Accepted | RelaisError | None:
    """What the notes that were found say of an entry; None where they say nothing, or one is not ours."""
    firsts: list[tuple[str, str] | None] = []
    for name, value in zip(names(each), found, strict=True):
        if value is None:
            firsts.append(None)
        elif (first := read_note(name, value, key)) is None:
            return None
        else:
            firsts.append(first)
    first, keyed = firsts[0], firsts[1] if len(firsts) > 1 else None
    mine = each.digest.hex()
    if keyed is not None and keyed[1] != mine:
        return KeyReused(keyed[0])
    if first is None:
        return None
    if first[1] != mine:
        return Conflict(first[0])
    return Accepted(UUID(first[0]), repeated=UUID(first[0]) != each.id, kept="spill")


def read_note(name: bytes, value: bytes, key: SpillSigner) -> tuple[str, str] | None:
    """The id and the digest that a note remembers; None where it is not signed with a key of ours."""
    said, _, mac = value.rpartition(b"|")
    if not key.verifies(b"note", name + b"|" + said, mac):
        return None
    order_id, _, content = said.decode().partition("|")
    return order_id, content
