"""What an ERP delivers in a product's place, which it names by its own article: told by the code that orders have."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import pytest

from orders.queries import mappings
from orders.queries import orders as order_queries
from orders.states import CodeKind
from tests.bench import MEDICINE, Bench, OnBench, Scripted, always
from tests.workers.mapping.test_mapping import OTHER, THIRD, imports, pharmacies
from workers.delivery.deliver import deliver
from workers.delivery.poll import poll
from workers.erp.port import LINES, Capabilities, ErpReceipt, ErpReceiptLine, Kind, Outcome, Submission
from workers.reconcile.compare import AcknowledgedOrder, difference

FOURTH = "3400930000007"
NAMES = {MEDICINE: "A-1", OTHER: "A-2", THIRD: "A-3", FOURTH: "A-3"}
TOLD = [("A-2", OTHER), ("A-3", "A-3"), ("A-9", "A-9"), ("A-1", None)]  # an article, and what the receipt says


class Delivering(Scripted):
    """Delivers that article in the place of whatever is ordered, by its own name; polled, it says the same."""

    def __init__(self, article: str, taken: Kind = Kind.ACCEPTED) -> None:
        super().__init__(always(taken))
        self.capabilities = Capabilities(mapped=True, asynchronous=True, echoes_digest=False)
        self._article = article

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        told = await super().submit(orders, budget=budget)
        return {order_id: self._instead(order_id, each) for order_id, each in told.items()}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        self.found = Kind.ACCEPTED
        return {order_id: self._instead(order_id, each) for order_id, each in (await self.find(ids, budget=1)).items()}

    def _instead(self, order_id: UUID, outcome: Outcome) -> Outcome:
        line = ErpReceiptLine(1, MEDICINE, 1, substitute=self._article)
        return replace(outcome, receipt=outcome.receipt and ErpReceipt(f"ERP-{order_id}", None, (line,)))


async def mapped(bench: Bench) -> None:
    await imports(bench, CodeKind.PRODUCT, NAMES)
    await pharmacies(bench)


@pytest.mark.parametrize(("article", "product"), TOLD)
@pytest.mark.parametrize("taken", [Kind.ACCEPTED, Kind.PENDING])
def test_an_article_is_told_as_the_one_product_that_is_mapped_to_it(
    on_bench: OnBench, taken: Kind, article: str, product: str | None
) -> None:
    async def work(bench: Bench) -> None:
        await mapped(bench)
        (order_id,) = await bench.accept()
        under = bench.under(bench.settings.replace(erp_allow_substitution=product is not None))
        resources = under.resources(Delivering(article, taken))
        await deliver(resources, await bench.dispatch())
        if taken is Kind.PENDING:
            resources = under.resources(Delivering(article, taken))  # another worker polls, which mapped nothing yet
            await bench.now_due()
            await poll(resources, [order_id])
        life = await order_queries.order(bench.engine, order_id)
        assert life["receipt"]["lines"][0]["substitute"] == product
        assert not (await bench.standing())["quarantined"]

    on_bench(work)


def test_a_reconciliation_knows_an_article_by_every_product_that_was_ever_mapped_to_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> Any:
        await mapped(bench)
        await imports(bench, CodeKind.PRODUCT, {OTHER: "A-22", THIRD: "A-2"})
        return await mappings.names_ever(bench.by("console"), "erp", ["A-2", "A-22", "A-3", "A-9"])

    names = on_bench(work)
    assert names == {"A-2": {OTHER, THIRD}, "A-22": {OTHER}, "A-3": {THIRD, FOURTH}}
    body = json.dumps({"lines": [{"product": MEDICINE, "quantity": 1}]}).encode()
    digest, now = sha256(body).digest(), datetime.now(UTC)

    def found(held: str | None, told: str | None) -> str | None:
        line = ErpReceiptLine(1, MEDICINE, 1, substitute=held)
        lines = LINES.dump_json((line,), exclude_defaults=True).decode()
        order = AcknowledgedOrder(now, now, uuid4(), True, False, uuid4(), "E-1", lines, body, digest)
        receipt = ErpReceipt("E-1", None, (replace(line, substitute=told),))
        finding = difference(order, Outcome(Kind.ACCEPTED, receipt=receipt), Capabilities(echoes_digest=False), names)
        return finding and str(finding.detail)

    assert found(OTHER, "A-2") is None, "so it was called when it was acknowledged"
    assert found("A-2", "A-2") is None, "it was not mapped then"
    assert found(THIRD, "A-3") is None
    assert found(OTHER, "A-3") == f"line 1: 1 box of A-3, and was 1 of {OTHER}"
    assert found(OTHER, None) == f"line 1: 1 box of {MEDICINE}, and was 1 of {OTHER}"
    assert found(None, "A-9") == f"line 1: 1 box of A-9, and was 1 of {MEDICINE}"


def test_what_is_delivered_as_ordered_asks_nothing_of_the_mapping(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        erp = Scripted(always(Kind.PENDING), found=Kind.ACCEPTED)
        resources = bench.resources(erp)
        await deliver(resources, await bench.dispatch())
        await bench.now_due()
        erp.receipt, erp.capabilities = await bench.receipt(order_id), Capabilities(mapped=True)
        assert resources.mapping is not None
        asked: list[object] = []
        resources.mapping.renew = lambda: asked.append(1)  # type: ignore[method-assign,assignment,return-value]
        await poll(resources, [order_id])
        assert (await order_queries.order(bench.engine, order_id))["state"] == "delivered"
        assert asked == []

    on_bench(work)
