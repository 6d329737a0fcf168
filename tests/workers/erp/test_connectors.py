"""Which connector speaks to a backend: ours, one of somebody else's package, and how each fault is told."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from config.embedded.leash import Leash
from config.settings import MissingSetting, Settings
from config.settings.routes_file import load_backends
from tests.acceptance.apart import MEDICINE, Apart
from tests.cli import CommandLine, asked, clean_environment, command
from tests.journal import Journal
from tests.machines.erp import an_order, settings_for, submit_one
from tests.waiting import until
from workers.erp.connectors import BadConnector, check, kinds, open_erp
from workers.erp.http import HttpErp
from workers.erp.port import Kind

EXAMPLE = Path(__file__).parent / "example"  # as if it were installed: a module and its .dist-info


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLE)])


def notebook(directory: Path, content: str | None = 'title = "orders"', kind: str = "notebook") -> Settings:
    file = directory / "notebook.toml"
    if content is not None:
        file.write_text(content)
    return settings_for(f"file://{directory}", erp_kind=kind, erp_connector=file)


def test_the_contract_is_spoken_where_nothing_else_is_said() -> None:
    erp = open_erp(settings_for("http://127.0.0.1:1"))
    assert isinstance(erp, HttpErp)
    with pytest.raises(MissingSetting, match="RELAIS_ERP_URL"):
        check(Settings(_env_file=None, data_dir=Path("/nowhere")))


@pytest.mark.usefixtures("installed")
def test_a_package_of_somebody_elses_adds_a_connector(tmp_path: Path) -> None:
    assert {"http", "notebook"} <= kinds()
    erp, order = open_erp(notebook(tmp_path)), an_order(3)
    first, again = (asyncio.run(submit_one(erp, order)) for _ in range(2))
    assert (first.kind, again.kind) == (Kind.ACCEPTED, Kind.DUPLICATE)
    assert first.receipt == again.receipt
    assert first.receipt is not None
    assert (first.receipt.reference, first.receipt.digest) == ("N-1", order.digest)
    assert len((tmp_path / "orders.ndjson").read_text().splitlines()) == 1


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        (
            "pigeon",
            "",
            "erp: there is no connector pigeon; there are broken, files, http, notebook, nothing, odata, rest, tryton",
        ),
        ("nothing", "", "erp: the connector nothing cannot be used: relais_notebook:PAGE is no Connector"),
        ("broken", "", "erp: the connector broken cannot be loaded: "),
        ("notebook", "", "erp, {file}, title: Field required"),
        ("notebook", 'title = ""', "erp, {file}, title: String should have at least 1 character"),
        ("notebook", "title =", "erp, {file}: Invalid value"),
        ("notebook", None, "erp, {file}: No such file or directory"),
        ("http", "title = 1", "erp, {file}, title: Extra inputs are not permitted"),
    ],
)
def test_a_fault_is_told_by_backend_file_and_key(tmp_path: Path, kind: str, content: str | None, says: str) -> None:
    with pytest.raises(BadConnector) as told:
        check(notebook(tmp_path, content, kind))
    assert str(told.value).startswith(says.format(file=tmp_path / "notebook.toml"))


@pytest.mark.usefixtures("installed")
def test_without_a_file_the_setting_that_names_it_is_told() -> None:
    with pytest.raises(BadConnector, match=r"^erp, title: Field required; RELAIS_ERP_CONNECTOR names no file$"):
        check(settings_for("file:///tmp", erp_kind="notebook"))


@pytest.mark.usefixtures("installed")
def test_each_backend_has_a_connector_of_its_own_its_file_beside_theirs(tmp_path: Path) -> None:
    (tmp_path / "book.toml").write_text('title = "second"')
    (tmp_path / "backends.toml").write_text(
        'default = "main"\n[backends.main]\nurl = "http://127.0.0.1:1"\n'
        f'[backends.paper]\nkind = "notebook"\nconnector = "book.toml"\nurl = "file://{tmp_path}"\n'
    )
    backends = load_backends(Settings(_env_file=None, erp_kind="pigeon", backends=tmp_path / "backends.toml"))
    assert isinstance(open_erp(backends["main"]), HttpErp)
    order = an_order()
    asyncio.run(submit_one(open_erp(backends["paper"]), order))
    assert str(order.id) in (tmp_path / "second.ndjson").read_text()


def test_a_worker_whose_connector_cannot_be_used_says_so_and_does_not_start(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    env: dict[str, Any] = {"RELAIS_ERP_KIND": "pigeon", "RELAIS_ERP_URL": "http://127.0.0.1:1"}
    done = CommandLine(capsys, {"RELAIS_DATABASE_URL": settings.need("database_url"), **env})(
        "worker", RELAIS_REDIS_URL="redis://127.0.0.1:1/0"
    )
    assert (done.code, done.err.strip()) == (
        2,
        "relais: connector: erp: there is no connector pigeon; there are files, http, odata, rest, tryton",
    )


def handed_over(parts: Apart, number: int) -> str:
    """The id of an order that the intake took."""
    order = {"pharmacy": "P1", "reference": f"R{number}", "lines": [{"product": MEDICINE, "quantity": 1}]}
    status, body = asked(f"{parts.url}/orders", data=json.dumps(order).encode(), Authorization=f"Bearer {parts.key}")
    assert status == 202
    return str(json.loads(body)["id"])


@contextmanager
def forwarding(tmp_path: Path, leash: Leash, content: str) -> Iterator[Apart]:
    """A whole Relais whose ERP is a notebook in this directory."""
    parts = Apart(tmp_path / "data", leash)
    (tmp_path / "notebook.toml").write_text(content)
    parts.env |= {
        "PYTHONPATH": str(EXAMPLE),
        "RELAIS_ERP_KIND": "notebook",
        "RELAIS_ERP_CONNECTOR": str(tmp_path / "notebook.toml"),
        "RELAIS_ERP_URL": f"file://{tmp_path}",
    }
    try:
        parts.api()
        parts.worker()
        yield parts
    finally:
        parts.close()


@pytest.mark.acceptance
def test_a_whole_relais_forwards_through_it(tmp_path: Path, leash: Leash) -> None:
    with forwarding(tmp_path, leash, 'title = "orders"') as parts:
        told = [handed_over(parts, number) for number in range(20)]
        book = tmp_path / "orders.ndjson"
        until(lambda: book.exists() and len(book.read_text().splitlines()) == 20, 30, what="all are in the notebook")
        assert all(str(each) in book.read_text() for each in told)


@pytest.mark.acceptance
def test_a_whole_relais_tells_it_what_its_erp_calls_an_order_s_codes(tmp_path: Path, leash: Leash) -> None:
    def relais(*words: str) -> str:
        env = clean_environment(parts.env)
        return subprocess.run(command(*words), env=env, capture_output=True, text=True, check=True).stdout

    with forwarding(tmp_path, leash, 'title = "orders"\nmapped = true') as parts:
        told = [handed_over(parts, number) for number in range(5)]
        count = "SELECT count(*) FROM deliveries WHERE reason = 'unmapped'"
        until(lambda: Journal(parts.journal).sql(count) == [(5,)], 30, what="all are dead letters")
        for name, content in (
            ("customers", "pharmacy,customer\nP1,C-1"),
            ("articles", f"cip13;article\n{MEDICINE};A-1"),
        ):
            (tmp_path / name).write_text(content)
            said = relais("mapping", "import", str(tmp_path / name), "--because", "a new ERP", "--yes")
        assert said.endswith("1 code imported for erp, version 2; 5 dead letters replayed.\n")
        book = tmp_path / "orders.ndjson"
        until(lambda: book.exists() and len(book.read_text().splitlines()) == 5, 30, what="all are in the notebook")
        lines = [json.loads(line) for line in book.read_text().splitlines()]
        assert {line["id"] for line in lines} == {*told}
        assert {(line["customer"], *line["articles"]) for line in lines} == {("C-1", "A-1")}
