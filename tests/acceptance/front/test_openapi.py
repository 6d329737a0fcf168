"""The running intake held against its own OpenAPI document by schemathesis: no 5xx, nothing that is not described."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from orders.access import clients
from orders.access.clients import Scope
from orders.journal import connect
from tests.cli import clean_environment, command, environment, running
from tests.machines.roles import above

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

# A stream of events has no end, and schemathesis waits for one.
LEFT_OUT = "--exclude-path-regex=/events$"
# What is well formed may still be refused for what a schema cannot say: a check digit, a key that stands twice.
# DELETE cancels: the order and its life stay in the journal, and are found there.
NOT_CHECKED = "--exclude-checks=positive_data_acceptance,use_after_free"


@pytest.fixture
def intake(settings: Settings, leash: Leash) -> Iterator[tuple[str, str]]:
    """A running intake with a spill and a rate limit, and a key that opens everything."""

    async def add() -> str:
        engine = connect(above(settings.need("database_url")))
        try:
            return await clients.add(engine, "tester", scopes=[*Scope], rate=100_000)
        finally:
            await engine.dispose()

    port, key = choose(), asyncio.run(add())
    env = environment(settings) | {"RELAIS_SPILL_KEY": "shared by intake and workers"}
    with running(leash, "api", command("api", "--port", str(port)), env):
        yield f"http://127.0.0.1:{port}", key


def schemathesis(url: str, key: str, directory: Path, *options: str) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    argv = [
        str(program),
        "run",
        f"{url}/openapi.json",
        "--header",
        f"Authorization: Bearer {key}",
        "--no-color",
        "--request-timeout=20",
        "--generation-database=none",
        "--checks=all",
        NOT_CHECKED,
        LEFT_OUT,
        *options,
    ]
    env = clean_environment({"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(Path(__file__).parent)})
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_running_intake_is_what_its_document_says(intake: tuple[str, str], data_dir: Path) -> None:
    url, key = intake
    schemathesis(url, key, data_dir, "--max-examples=15", "--seed=1", "--phases=examples,coverage,fuzzing")


@pytest.mark.slow
def test_the_running_intake_is_what_its_document_says_however_long_it_is_tried(
    intake: tuple[str, str], data_dir: Path
) -> None:
    url, key = intake
    schemathesis(url, key, data_dir, "--max-examples=400")


def test_the_document_is_valid_and_every_operation_has_examples(intake: tuple[str, str]) -> None:
    url, _ = intake
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        document = json.load(answer)
    validate(document)
    schemas = document["components"]["schemas"]
    shown = ("Taken", "LineAnswer", "ProblemShown", "Life", "Page", "Cancelled", "Order")
    for name in shown:
        resolver = {"components": {"schemas": schemas}, **schemas[name]}
        for example in schemas[name]["examples"]:
            Draft202012Validator(resolver).validate(example)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            for media in operation.get("requestBody", {}).get("content", {}).values():
                assert "example" in media or "examples" in media, (method, path)
