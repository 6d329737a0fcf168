"""Front ends that hand over orders and keep, on disk before they go on, what they were answered: the truth of the soak.

Each asks again until its order is safe; now and then one sends an order again, sends another content under its
reference, or takes it back. Listers follow the pages with a cursor, as the documentation says.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp

from orders.client import OrderClient
from orders.client.answers import Kept, Outcome
from tests.acceptance.apart import MEDICINE

PATIENCE: Final = 8.0  # seconds for one answer
BATCH: Final = 8  # orders
MOST_KNOWN: Final = 400  # references that a front end still does something with

# A COMMANDE of one line; the answer FIN_SERVICE is a receipt.
PHARMAML: Final = """<?xml version="1.0" encoding="UTF-8"?>
<CSRP_ENVELOPPE xmlns="urn:x-csrp:fr.csrp.protocole:enveloppe" Nature_Action="REQ_EMISSION" Version_Protocole="1.0.0.0"
 Id_Logiciel="Relais" Version_Logiciel="1" Usage="P">
<ENTETE><EMETTEUR Nature="OF" Code="00" Id="{pharmacy}" Adresse="Pharmacie"/>
<RECEPTEUR Nature="RE" Code="12" Id="04" Adresse="Grossiste"/>
<REF_MESSAGE>M-{reference}</REF_MESSAGE><DATE>2026-01-05T11:12:00</DATE></ENTETE>
<CORPS><MESSAGE_OFFICINE xmlns="urn:x-csrp:fr.csrp.protocole:message">
<ENTETE><EMETTEUR Nature_Partenaire="OF" Id_Client="{pharmacy}"/>
<DESTINATAIRE Nature_Partenaire="RE" Code_Societe="12" Id_Societe="04"/></ENTETE>
<CORPS><COMMANDE Ref_Cde_Client="{reference}"><NORMALE>
<LIGNE_N Num_Ligne="0001" Type_Codification="EAN13" Code_Produit="{product}" Quantite="{quantity:04}"
 Partielle="true" Reliquat="false" Equivalent="false"/>
</NORMALE></COMMANDE></CORPS></MESSAGE_OFFICINE></CORPS></CSRP_ENVELOPPE>"""

Answer = tuple[int, Any]  # HTTP status, 0 for none; the document


class Log:
    """Lines of one front end, each on disk when `write` returns."""

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **line: object) -> None:
        """One line."""
        os.write(self._fd, json.dumps({"at": time.time(), **line}).encode() + b"\n")
        os.fdatasync(self._fd)


class FrontEnd:
    """One that does everything by plain HTTP, at one intake after the other."""

    def __init__(self, name: str, urls: list[str], key: str, folder: Path, seed: str, pause: float) -> None:
        self.name, self._urls, self._key, self._pause = name, urls, key, pause
        self._headers = {"Authorization": f"Bearer {key}"}
        self._chance, self._log = random.Random(seed), Log(folder / f"{name}.jsonl")
        self._told: list[tuple[dict[str, Any], str]] = []
        self._number, self.stopped = 0, False

    async def run(self) -> None:
        """Until stopped, and what it has begun is safe."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            self._session = session
            acts: list[Callable[[], Any]] = (
                [self._single] * 10 + [self._batch, self._pharmaml] * 2 + [self._again, self._other, self._cancel]
            )
            while not self.stopped:
                await self._chance.choice(acts)()
                await asyncio.sleep(self._chance.expovariate(1 / self._pause))

    def _order(self) -> dict[str, Any]:
        self._number += 1
        reference = f"{self.name}-{self._number}"
        lines = [{"product": MEDICINE, "quantity": 1 + self._number % 9}]
        return {"pharmacy": f"P{self._number % 50:03}", "reference": reference, "lines": lines}

    async def _single(self) -> None:
        order = self._order()
        safe = False
        while not safe:
            safe = await self._post("post", order)
            await asyncio.sleep(0 if safe else self._chance.uniform(0.1, 0.5))

    async def _post(self, act: str, order: dict[str, Any]) -> bool:
        url = self._chance.choice(self._urls)
        status, said = await self._ask("POST", f"{url}/orders", json=order)
        self._write(act, order, status, said, url)
        return status in (200, 202)

    def _write(self, act: str, order: dict[str, Any], status: int, said: Any, url: str) -> None:
        said = said if isinstance(said, dict) else {"said": str(said)[:300]}
        about = {name: said[name] for name in ("id", "kept", "first", "said", "detail") if name in said}
        self._log.write(act=act, order=order, status=status, url=url, **about)
        if status in (200, 202) and act in ("post", "batch"):
            self._told = [*self._told[-MOST_KNOWN:], (order, str(said["id"]))]

    async def _pharmaml(self) -> None:
        order, safe = self._order(), False
        body = PHARMAML.format(**order, quantity=order["lines"][0]["quantity"], product=MEDICINE).encode()
        while not safe:
            url = self._chance.choice(self._urls)
            auth = {"Authorization": aiohttp.encode_basic_auth(order["pharmacy"], self._key)}
            status, said = await self._ask("POST", f"{url}/pharmaml", data=body, headers=auth)
            safe = status == 200 and "FIN_SERVICE" in str(said)
            self._write("pharmaml", order, 202 if safe else status if status != 200 else 503, said, url)
            await asyncio.sleep(0 if safe else self._chance.uniform(0.1, 0.5))

    async def _batch(self) -> None:
        left = [self._order() for _ in range(BATCH)]
        while left:
            url = self._chance.choice(self._urls)
            left = await self._hand_over(url, left)
            await asyncio.sleep(self._chance.uniform(0.05, 0.3))

    async def _hand_over(self, url: str, orders: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What is not known to be safe."""
        body = "".join(json.dumps(order) + "\n" for order in orders).encode()
        safe: set[int] = set()
        try:
            async with self._session.post(f"{url}/orders/batch", data=body) as answer:
                async for raw in answer.content:
                    said = json.loads(raw) if raw.strip() and answer.status == 200 else {}
                    if number := said.get("line"):
                        status = {"accepted": 202, "repeated": 200, "unavailable": 503}.get(said["status"], 409)
                        self._write("batch", orders[number - 1], status, said, url)
                        safe |= {number - 1} if status in (200, 202) else set()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            pass
        return [order for index, order in enumerate(orders) if index not in safe]

    async def _again(self) -> None:
        if self._told:
            await self._post("again", self._chance.choice(self._told)[0])

    async def _other(self) -> None:
        if self._told:
            order, _ = self._chance.choice(self._told)
            await self._post("other", {**order, "lines": [{"product": MEDICINE, "quantity": 77}]})

    async def _cancel(self) -> None:
        if self._told:
            order, told = self._told[-1]
            url = self._chance.choice(self._urls)
            status, said = await self._ask("DELETE", f"{url}/orders/{told}")
            self._write("cancel", order, status, {"id": told, "said": json.dumps(said)[:300]}, url)

    async def _ask(self, method: str, url: str, **content: Any) -> Answer:
        try:
            async with self._session.request(method, url, **content) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if "json" in answer.content_type else text
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return 0, f"{type(error).__name__}: {error}"


class SpoolFront:
    """One that leaves asking again to `OrderClient`."""

    def __init__(self, name: str, url: str, key: str, folder: Path, pause: float) -> None:
        self.name, self._url, self._key, self._pause = name, url, key, pause
        self._spool, self._log = folder / f"{name}.spool", Log(folder / f"{name}.jsonl")
        self._numbers: dict[int, dict[str, Any]] = {}
        self.stopped, self.left = False, 0

    async def run(self) -> None:
        """Until stopped, and the spool is empty or two minutes have gone."""
        async with OrderClient(self._url, self._key, self._spool, longest_pause=3.0, heard=self._heard) as client:
            number = 0
            while not self.stopped:
                number += 1
                lines = [{"product": MEDICINE, "quantity": 1 + number % 9}]
                order = {"pharmacy": f"P{number % 50:03}", "reference": f"{self.name}-{number}", "lines": lines}
                kept = await client.submit(order)
                if kept.number is None:
                    self._log.write(
                        act="post", order=order, status=202, id=str(kept.id), kept=kept.where, url=self._url
                    )
                else:
                    self._numbers[kept.number] = order
                    self._log.write(act="spool", order=order, status=202, kept="spool", url=self._url)
                await asyncio.sleep(self._pause)
            self.left = (await client.flush(patience=120)).waiting

    def _heard(self, number: int, outcome: Outcome) -> None:
        order = self._numbers.get(number)
        status, about = (202, {"id": str(outcome.id)}) if isinstance(outcome, Kept) else (409, {"said": str(outcome)})
        if order is not None:
            self._log.write(act="flushed", order=order, status=status, url=self._url, **about)


class Lister:
    """Follows all orders by their pages, and keeps its cursor."""

    def __init__(self, name: str, url: str, key: str) -> None:
        self.name, self._url, self._headers = name, url, {"Authorization": f"Bearer {key}"}
        self.seen: set[str] = set()
        self._cursor: str | None = None
        self.stopped = False

    async def run(self) -> None:
        """Until stopped."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            while not self.stopped:
                more = await self._page(session)
                await asyncio.sleep(0.02 if more else 1.0)

    async def finish(self) -> None:
        """To the last page."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
            while await self._page(session):
                pass

    async def _page(self, session: aiohttp.ClientSession) -> bool:
        """Whether there is another page."""
        asked = {"limit": "200"} | ({} if self._cursor is None else {"cursor": self._cursor})
        try:
            async with session.get(f"{self._url}/orders", params=asked) as answer:
                page = await answer.json(content_type=None) if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False
        if page is None:
            return False
        self.seen |= {order["id"] for order in page["orders"]}
        moved = page["next"] is not None and page["next"] != self._cursor
        self._cursor = page["next"] or self._cursor
        return bool(moved and page["orders"])
