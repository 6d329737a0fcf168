"""The proof after a soak: the front ends' logs beside the ledger and the ERP's own file.

Every receipt is an order in the ledger, once, with the content that was sent; its state is final; the ERP took it
once if it is delivered, and never if its cancelling was confirmed; what was answered as a second content is told.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from orders.model import canonical, parse
from tests.soak.stack import Stack
from workers.erp.sim.book import read_effects

LEDGER: Final = """
SELECT o.id::text, o.pharmacy, o.reference, o.digest, sha256(o.body) AS body, d.state, d.reason, d.error
FROM orders o LEFT JOIN deliveries d ON d.order_id = o.id"""
ASIDES: Final = "SELECT told::text, kind, order_id::text FROM asides WHERE told IS NOT NULL"
ATTEMPTS: Final = "SELECT * FROM attempts WHERE order_id = $1::uuid ORDER BY started_at"
FINAL: Final = ("delivered", "dead", "cancelled", "discarded")
MOST_WALKS: Final = 10

Key = tuple[str, str]


@dataclass
class Verdict:
    """What was found wrong, by kind, each with the order's key; and the figures."""

    lost: dict[Key, str] = field(default_factory=dict)
    doubled: dict[Key, str] = field(default_factory=dict)
    altered: dict[Key, str] = field(default_factory=dict)
    stuck: dict[Key, str] = field(default_factory=dict)
    displaced: list[str] = field(default_factory=list)  # within the promise's limits: told, and never put through
    other: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """All of it, in words."""
        kinds = {"lost": self.lost, "doubled": self.doubled, "altered": self.altered, "stuck": self.stuck}
        return [
            f"{kind}: {' '.join(key)}: {why}" for kind, those in kinds.items() for key, why in those.items()
        ] + self.other


def digest_of(order: dict[str, Any]) -> bytes:
    """The digest that the ledger has of an order's content."""
    return hashlib.sha256(canonical(parse(json.dumps(order).encode()))).digest()


def lines_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Every line of the front ends' logs, in the order in which they were written."""
    found = [json.loads(line) for log in folder.glob("*.jsonl") for line in log.read_text().splitlines()]
    yield from sorted(found, key=lambda line: line["at"])


async def check(stack: Stack, folder: Path, seen: dict[str, set[str]]) -> Verdict:
    """Compare; `seen` is what each lister saw."""
    verdict = Verdict()
    ledger: dict[str, Any] = {row["id"]: row for row in await stack.sql(LEDGER)}
    by_key = {(row["pharmacy"], row["reference"]): row for row in ledger.values() if row["reason"] != "conflict"}
    asides: dict[str, Any] = {row["told"]: row for row in await stack.sql(ASIDES)}
    logged: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    for line in lines_of(folder):
        logged[line["order"]["pharmacy"], line["order"]["reference"]].append(line)
    effects = Counter(effect["id"] for effect in read_effects(stack.book))
    for key, lines in logged.items():
        _promises(verdict, key, lines, by_key.get(key), ledger, asides)
        _cancelled(verdict, key, lines, by_key.get(key), effects)
    _ledger(verdict, ledger, effects)
    for effect in read_effects(stack.book):
        row = ledger.get(effect["id"])
        if row is None:
            verdict.other.append(f"the ERP has {effect['id']}, which no ledger knows")
        elif effect["digest"] != row["digest"].hex():
            verdict.altered[row["pharmacy"], row["reference"]] = "the ERP has another content"
    for name, those in seen.items():
        if missed := ledger.keys() - those:
            verdict.other.append(f"{name} never saw {len(missed)} orders, {sorted(missed)[:3]}")
    statuses = Counter(f"{line['act']} {line['status']}" for lines in logged.values() for line in lines)
    states = Counter(row["state"] for row in ledger.values())
    kept = Counter(line["kept"] for lines in logged.values() for line in lines if "kept" in line)
    verdict.figures = {
        "orders": len(ledger), "effects": sum(effects.values()), "states": dict(states), "answers": dict(statuses),
        "kept": dict(kept),
        "displaced": verdict.displaced, "asides": dict(Counter(row["kind"] for row in asides.values())),
        "dead": dict(Counter(row["reason"] for row in ledger.values() if row["state"] == "dead")),
    }  # fmt: skip
    return verdict


def _promises(verdict: Verdict, key: Key, lines: list[dict[str, Any]], row: Any, ledger: Any, asides: Any) -> None:
    """The first receipt has the place; a second content that got one all the same is told."""
    receipts = [line for line in lines if line["status"] in (200, 202) and line["act"] != "cancel"]
    if not receipts:
        return
    first = digest_of(receipts[0]["order"])
    if row is None:
        verdict.lost[key] = "answered 202, and in no ledger"
        return
    if row["digest"] != first:
        told = [ledger.get(line.get("id")) for line in receipts if digest_of(line["order"]) == first]
        if not any(each is not None and each["reason"] == "conflict" for each in told):
            verdict.lost[key] = f"its place has another content, {row['id']}"
        verdict.displaced.append(f"{' '.join(key)}: a dead letter `conflict`, though it was first")
        first = row["digest"]
    if row["digest"] != row["body"]:
        verdict.altered[key] = "the ledger's content has another digest"
    refused = [line for line in lines if line["status"] == 409 and line["act"] in ("post", "again", "batch", "flushed")]
    for line in refused:
        rival = ledger.get(line.get("first"))  # an intake without the journal goes by the spill alone: the limit (1)
        if rival is None or rival["reason"] != "conflict":
            verdict.other.append(f"{' '.join(key)}: the first content was answered 409")
    for line in receipts:
        told = line.get("id")
        found, aside = ledger.get(told), asides.get(told)
        if told in (None, row["id"]) or (found is not None and found["reason"] == "conflict"):
            continue
        same = digest_of(line["order"]) == first
        if aside is None or aside["kind"] != ("repeated" if same else "conflict"):
            verdict.other.append(f"{' '.join(key)}: {told} was answered {line['status']} and leads nowhere")


def _cancelled(verdict: Verdict, key: Key, lines: list[dict[str, Any]], row: Any, effects: Counter[str]) -> None:
    for line in lines:
        if line["act"] == "cancel" and line["status"] == 200 and row is not None:
            if row["state"] != "cancelled":
                verdict.other.append(f"{' '.join(key)}: cancelled, answered 200, and {row['state']}")
            if effects[row["id"]]:
                verdict.other.append(f"{' '.join(key)}: cancelled, answered 200, and the ERP took it")


def _ledger(verdict: Verdict, ledger: dict[str, Any], effects: Counter[str]) -> None:
    for order_id, row in ledger.items():
        key, count = (row["pharmacy"], row["reference"]), effects[order_id]
        if row["state"] not in FINAL:
            verdict.stuck[key] = f"{order_id} is {row['state']}: {row['error']}"
        if row["state"] == "dead" and not row["reason"]:
            verdict.other.append(f"{' '.join(key)}: dead without a reason")
        if count > 1:
            verdict.doubled[key] = f"the ERP took {order_id} {count} times"
        if row["state"] == "delivered" and count == 0:
            verdict.lost[key] = f"{order_id} is delivered, and the ERP has it not"


async def walks(stack: Stack, folder: Path, verdict: Verdict) -> list[str]:
    """Of the first orders that were wronged: what the front ends, the ledger, the attempts and the ERP have of each."""
    wronged = [*verdict.lost, *verdict.doubled, *verdict.altered, *verdict.stuck][:MOST_WALKS]
    logged, book = list(lines_of(folder)), list(read_effects(stack.book))
    told = []
    for key in wronged:
        told += [f"--- {' '.join(key)}"]
        told += [f"front {line}" for line in logged if (line["order"]["pharmacy"], line["order"]["reference"]) == key]
        for row in await stack.sql(f"{LEDGER} WHERE o.pharmacy = $1 AND o.reference = $2", *key):
            told += [f"ledger {dict(row)}"]
            told += [f"attempt {dict(each)}" for each in await stack.sql(ATTEMPTS, row["id"])]
            told += [f"ERP {effect}" for effect in book if effect["id"] == row["id"]]
    return told
