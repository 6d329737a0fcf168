"""Every route of the running console tried by schemathesis, as a stranger and as an approver: no 5xx, no tag."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.acceptance.console.hooks import MARKS
from tests.cli import clean_environment, command, environment, running
from tests.machines.roles import above
from tests.machines.tools import ROOT
from workers.console.app import create_app

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

# A stream has no end, and schemathesis waits for one.
LEFT_OUT = "--exclude-path-regex=^/live/(overview|stores)$"
CHECKS = "not_a_server_error,nothing_becomes_a_tag,whoever_is_logged_in_stays_so"
ODD = {
    "enum": [
        *MARKS,
        "",
        "\u0000",
        "\u202e",
        "a" * 5000,
        "-1",
        "99999999999999999999",
        "NaN",
        "../../etc/passwd",
        "%00",
    ]
}
TEXT = {"anyOf": [{"type": "string"}, ODD]}
# What the console's forms hold; a route takes what it knows of it.
FORM = (
    "reason",
    "because",
    "act",
    "sees",
    "confirm",
    "backend",
    "id",
    "cause",
    "order",
    "text",
    "note",
    "digest",
    "to",
    "from",
    "since",
    "until",
    "run",
    "priority",
    "pharmacy",
    "older",
    "younger",
    "hold",
    "rate",
    "name",
    "password",
    "old",
    "new",
    "again",
    "next",
    "language",
    "theme",
    "q",
    "by",
    "after",
    "cursor",
)
KINDS_OF_VALUES: dict[str, list[str]] = {
    "backend": ["erp", "no-such"],
    "act": ["019a0000-0000-7000-8000-000000000000"],
    "priority": ["urgent", "normal"],
    "id": ["019a0000-0000-7000-8000-000000000000", "1"],
    "reason": ["as told by the ERP's people"],
    "run": ["1"],
}


@pytest.fixture
def console(settings: Settings, leash: Leash) -> Iterator[str]:
    """The address of a running console."""
    port = choose()
    with running(leash, "console", command("console", "--port", str(port)), environment(settings)):
        yield f"http://127.0.0.1:{port}"


def document(settings: Settings) -> dict[str, Any]:
    """The console's routes, with what its forms and addresses hold beside what the routes declare."""
    found = create_app(settings).openapi()
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            fields = {
                name: {"anyOf": [TEXT, {"enum": KINDS_OF_VALUES[name]}]} if name in KINDS_OF_VALUES else TEXT
                for name in FORM
            }
            if method == "post":
                schema = {"type": "object", "properties": fields}
                operation["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}
            elif path.startswith("/acts/"):
                known = {each["name"] for each in operation.get("parameters", ())}
                added = [{"name": name, "in": "query", "schema": fields[name]} for name in FORM if name not in known]
                operation.setdefault("parameters", []).extend(added)
    return found


def schemathesis(url: str, settings: Settings, directory: Path, *options: str, **env: str) -> str:
    (directory / "console.json").write_text(json.dumps(document(settings)))
    program = Path(sys.executable).with_name("schemathesis")
    argv = [
        str(program),
        "run",
        "console.json",
        f"--url={url}",
        "--no-color",
        "--request-timeout=20",
        "--generation-database=none",
        f"--checks={CHECKS}",
        LEFT_OUT,
        *options,
    ]
    surroundings = clean_environment(
        {"SCHEMATHESIS_HOOKS": "tests.acceptance.console.hooks", "PYTHONPATH": str(ROOT), **env}
    )
    done = subprocess.run(
        argv, cwd=directory, env=surroundings, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_no_route_breaks_or_gives_back_a_tag(console: str, settings: Settings, data_dir: Path) -> None:
    short = ("--max-examples=3", "--seed=1", "--phases=fuzzing")
    schemathesis(console, settings, data_dir, *short, FUZZ_DATABASE=above(settings.need("database_url")))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["a stranger", "an approver"])
def test_no_route_breaks_or_gives_back_a_tag_however_long_it_is_tried(
    who: str, console: str, settings: Settings, data_dir: Path
) -> None:
    env = {"FUZZ_DATABASE": above(settings.need("database_url"))} if who == "an approver" else {}
    schemathesis(console, settings, data_dir, "--max-examples=30", "--phases=coverage,fuzzing,stateful", **env)
