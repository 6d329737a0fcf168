"""The lines of the README and of docs/front-end.md, run as they are printed there, against a whole Relais."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from lxml import etree

from config.embedded.leash import Leash
from tests.acceptance.apart import Apart, apart
from tests.cli import clean_environment, command
from tests.machines.tools import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT_END = (ROOT / "docs" / "front-end.md").read_text(encoding="utf-8")
ORDER = {"pharmacy": "990000002", "lines": [{"product": "3400937318044", "quantity": 2}]}


@pytest.fixture(scope="module")
def parts(servers_dir: Path, leash: Leash) -> Iterator[Apart]:
    directory = servers_dir / "readme"
    directory.mkdir()
    with apart(directory, leash) as running:
        yield running


def blocks(language: str, paper: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", paper, re.DOTALL)


def test_no_line_of_the_front_ends_paper_is_left_out() -> None:
    curl, pharmaml = blocks("bash", FRONT_END)  # each of which a test below runs
    assert ("orders/batch" in curl, "/pharmaml" in pharmaml) == (True, True)
    assert len(re.findall(r"^```\w", FRONT_END, re.MULTILINE)) == 2


def shell(parts: Apart, block: str, directory: Path, **more: str) -> str:
    """What the block prints; every command in it must succeed."""
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    ours = {"RELAIS_API_URL": parts.url, "RELAIS_API_KEY": parts.key, "HOME": os.devnull}
    env = clean_environment(ours | more)
    argv = ["bash", "-euo", "pipefail", "-c", block]
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_it_says_of_the_first_order(parts: Apart, tmp_path: Path) -> None:
    (block,) = blocks("bash", README)
    first, *others = block.splitlines()
    assert first == "export RELAIS_API_KEY=$(.venv/bin/relais client add front)" and len(others) == 2
    relais = " ".join(map(shlex.quote, command()))
    block = block.replace("client add front", "client add first").replace(".venv/bin/relais", relais)
    said = shell(parts, block, tmp_path, **parts.env | {"PYTHONPATH": str(ROOT)})
    assert "CMD-2024" in said
    assert "1 order: 1 accepted" in said, said


def test_what_it_says_of_curl(parts: Apart, tmp_path: Path) -> None:
    said = shell(parts, next(block for block in blocks("bash", FRONT_END) if "orders/batch" in block), tmp_path)
    documents, _ = documents_of(said)
    placed, first, second, third, life, page, refused = documents
    assert (placed["repeated"], placed["kept"]) == (False, "journal")
    assert [(each["line"], each["status"]) for each in (first, second, third)] == [
        (1, "repeated"),
        (2, "malformed"),
        (3, "accepted"),
    ]
    assert re.findall(r"^event: (\w+)$", said, re.MULTILINE) == ["accepted", "delivered"]
    assert (life["id"], life["state"], life["receipt"]["lines"][0]["accepted"]) == (placed["id"], "delivered", 2)
    assert placed["id"] in [each["id"] for each in page["orders"]]
    assert (refused["type"], refused["state"]) == ("urn:relais:problem:too-late", "delivered")


def documents_of(said: str) -> tuple[list[dict[str, Any]], str]:
    """The JSON documents in what was printed, one after the other, and what is between them."""
    decoder, found, rest = json.JSONDecoder(), [], ""
    text = re.sub(r"^(id|event|data|retry|):.*$", "", said, flags=re.MULTILINE)
    while "{" in text:
        before, text = text.split("{", 1)
        document, end = decoder.raw_decode("{" + text)
        found.append(document)
        rest, text = rest + before, ("{" + text)[end:]
    return found, rest + text


def test_what_it_says_of_the_client_in_python(parts: Apart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks("python", README) if "OrderClient" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    said = asyncio.run(names["hand_over"](parts.url, parts.key, {**ORDER, "reference": "PYTHON"}))
    order_id = UUID(re.fullmatch(r"in Relais as (.*)", said)[1])  # type: ignore[index]
    until(lambda: parts.effects()[order_id] == 1, 20, what="it is with the ERP")
    away = asyncio.run(names["hand_over"]("http://127.0.0.1:1", parts.key, {**ORDER, "reference": "AWAY"}))
    assert away == "in the spool as number 1"


def test_what_it_says_of_python_without_http(parts: Apart) -> None:
    (block,) = [block for block in blocks("python", README) if "open_intake" in block]
    names: dict[str, Any] = {}
    exec(block.replace("postgresql://relais@db/relais", parts.postgres.url), names)
    order_id = UUID(asyncio.run(names["accept"](json.dumps({**ORDER, "reference": "DIRECT"}).encode())))
    until(lambda: parts.effects()[order_id] == 1, 20, what="it is with the ERP")


def test_what_it_says_of_pharmaml(parts: Apart, tmp_path: Path) -> None:
    (block,) = [block for block in blocks("bash", FRONT_END) if "/pharmaml" in block]
    answer = etree.fromstring(shell(parts, block, tmp_path).encode())
    assert answer.get("Nature_Action") == "REP_EMISSION"
    assert "FIN_SERVICE" in etree.tostring(answer).decode()

    def reply() -> str:
        """Ask for the replies in the deposit, as the software does after an order."""
        asked = re.sub(r"<CORPS>.*</CORPS>", "<CORPS><ACTION>VIDAGE</ACTION></CORPS>", block, flags=re.DOTALL)
        return shell(parts, asked.replace("REQ_EMISSION", "REQ_RECEPTION"), tmp_path)

    until(lambda: 'Ref_Cde_Client="CMD-1"' in reply(), 20, every=0.5, what="the reply is in the deposit")
    assert 'Quantite_livree="2"' in reply()
