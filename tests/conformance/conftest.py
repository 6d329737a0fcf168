"""An ERP of each kind that is asked for, and a connector to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from config.embedded.leash import Leash
from tests.conformance.counterparts import COUNTERPARTS, Counterpart, started

KINDS = ["http", "files"]  # what is tried where nothing else is asked for
PLAIN = ["test_connector.py", "test_edi_partner.py", "test_every_kind.py"]  # nothing is to be got for them


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test for each kind."""
    if "counterpart" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("--erp-kind") or KINDS
        metafunc.parametrize("counterpart", kinds, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs `make erp-tools` is marked so."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            called = getattr(item, "callspec", None)
            kind = called.params.get("counterpart", KINDS[0]) if called else KINDS[0]
            if item.path.name not in PLAIN or kind in COUNTERPARTS.keys() - KINDS:
                item.add_marker("erp")


class BesideItsErp(LoadFileScheduling):
    """Of several processes (`--dist loadfile`), one gets all tests of a file with one ERP, which then starts once."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        kinds = sorted(self.config.getoption("--erp-kind") or KINDS, key=len, reverse=True)
        return f"{file} {next((kind for kind in kinds if f'[{kind}' in name), '')}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Where these tests are run by themselves."""
    return BesideItsErp(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="module")
def counterpart(request: pytest.FixtureRequest, leash: Leash) -> Iterator[Counterpart]:
    """The ERP, running; its tests leave it so."""
    named = request.config.getoption("--erp-counterpart")
    kind = resolve_name(named) if named else COUNTERPARTS[request.param]
    with started(kind, leash) as erp:
        yield erp
