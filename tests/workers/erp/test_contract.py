"""The OpenAPI file is valid, and both sides keep to it: what the connector sends and what the simulator answers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from orders.model import EXAMPLE, canonical, digest, parse
from tests.machines.erp import MEDICINES, an_order, connector
from tests.machines.tools import ROOT
from workers.erp.http.answers import MOST_ASKED
from workers.erp.http.listing import MOST_LISTED, ask_for
from workers.erp.port import Submission
from workers.erp.sim import Dial, Simulator

DOCS = ROOT / "docs"
SPEC: dict[str, Any] = yaml.safe_load((DOCS / "erp-openapi.yaml").read_text(encoding="utf-8"))
PLACE = "urn:erp"


def problems(value: object, *path: str) -> list[str]:
    """What the schema at `path` has against a value."""
    registry = Registry().with_resource(PLACE, Resource(contents=SPEC, specification=DRAFT202012))
    pointer = "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)
    schema = {"$ref": f"{PLACE}#/{pointer}"}
    checker = OAS31Validator(schema, registry=registry, format_checker=OAS31Validator.FORMAT_CHECKER)
    return [error.message for error in checker.iter_errors(value)]


def answer_problems(path: str, method: str, status: int, value: object) -> list[str]:
    """What the contract has against an answer; a status that it does not name is its default."""
    responses = SPEC["paths"][path][method]["responses"]
    found = responses.get(str(status), responses["default"])
    name = found.get("$ref", "").rpartition("/")[2]
    where = ("components", "responses", name) if name else ("paths", path, method, "responses", str(status))
    return problems(value, *where, "content", "application/json", "schema")


def test_the_openapi_file_is_valid() -> None:
    validate(SPEC)


def test_the_schema_notices_a_bad_answer() -> None:
    assert answer_problems("/orders", "post", 201, {"reference": "E-1"})
    assert answer_problems("/orders", "post", 418, {"oops": 1})
    assert answer_problems("/orders/find", "post", 200, {"orders": [{"id": "7", "state": "lost"}]})


def an_example() -> Submission:
    order = parse(json.dumps({**EXAMPLE, "note": "é"}).encode())
    body = canonical(order)
    return Submission(an_order().id, body, digest(body))


def test_an_order_as_it_is_forwarded_keeps_to_the_contract() -> None:
    schema = ("paths", "/orders", "post", "requestBody", "content", "application/json", "schema")
    assert problems(json.loads(an_example().body), *schema) == []
    assert problems({"lines": []}, *schema)


def test_a_list_is_asked_for_as_the_contract_says() -> None:
    schema = ("paths", "/orders/list", "post", "requestBody", "content", "application/json", "schema")
    now = datetime.now(UTC)
    for after in (None, "41"):
        assert problems(json.loads(ask_for(now - timedelta(days=2), now, after)), *schema) == []
    assert problems({"since": "yesterday"}, *schema)
    limit = SPEC["paths"]["/orders/list"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert limit["properties"]["limit"]["maximum"] == MOST_LISTED


def test_a_find_never_asks_for_more_than_the_contract_says() -> None:
    schema = SPEC["paths"]["/orders/find"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["ids"]["maxItems"] == MOST_ASKED


@pytest.mark.parametrize(
    ("dial", "statuses"),
    [
        (Dial(), [201, 200, 409, 400]),
        (Dial(shortage_rate=1), [201, 200, 409, 400]),
        (Dial(back_order_rate=1, substitutes=dict.fromkeys(MEDICINES, "3400930000001")), [201, 200, 409, 400]),
        (Dial(refuse_lines=dict.fromkeys(MEDICINES, "0003 Produit supprimé")), [201, 200, 409, 400]),
        (Dial(confirm_later=60), [202, 202, 409, 400]),
        (Dial(refuse_products=frozenset(MEDICINES)), [422, 422, 422, 400]),
        (Dial(error_rate=1), [500, 500, 500, 500]),
        (Dial(error_rate=1, error_status=503), [503, 503, 503, 503]),
        (Dial(throttle=0.001), [201, 429, 429, 429]),
    ],
)
def test_every_answer_of_the_simulator_keeps_to_the_contract(tmp_path: Path, dial: Dial, statuses: list[int]) -> None:
    async def main() -> None:
        async with Simulator("127.0.0.1", 0, tmp_path / "erp.jsonl", dial) as sim, aiohttp.ClientSession() as session:
            order, other = an_order(4, 1), an_order(9)
            key = {"Idempotency-Key": str(order.id)}
            requests = [(order.body, key), (order.body, key), (other.body, key), (order.body, {})]
            for (body, headers), status in zip(requests, statuses, strict=True):
                async with session.post(sim.url + "/orders", data=body, headers=headers) as answer:
                    assert answer.status == status
                    assert answer.content_type == "application/json"
                    assert answer_problems("/orders", "post", status, await answer.json()) == []
                    assert (status == 429) == ("Retry-After" in answer.headers)
            wanted = {"ids": [str(order.id), str(other.id)]}
            async with session.post(sim.url + "/orders/find", json=wanted) as answer:
                assert answer_problems("/orders/find", "post", answer.status, await answer.json()) == []
            now = datetime.now(UTC)
            for limit in (1, 500):
                question = {**json.loads(ask_for(now - timedelta(days=1), now, None)), "limit": limit}
                async with session.post(sim.url + "/orders/list", json=question) as answer:
                    assert answer_problems("/orders/list", "post", answer.status, await answer.json()) == []
            async with session.get(sim.url + "/health") as answer:
                assert answer_problems("/health", "get", answer.status, await answer.json()) == []

    asyncio.run(main())


def test_a_real_order_goes_through(tmp_path: Path) -> None:
    async def main() -> None:
        order = an_example()
        async with Simulator("127.0.0.1", 0, tmp_path / "erp.jsonl", Dial()) as sim, connector(sim.url) as erp:
            outcome = (await erp.submit([order], budget=5))[order.id]
        assert outcome.receipt is not None
        assert [line.product for line in outcome.receipt.lines] == ["3400937318044", "3400938615470"]

    asyncio.run(main())
