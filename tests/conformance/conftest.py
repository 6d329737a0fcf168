"""An ERP of each kind that is asked for, and a connector to it."""

from __future__ import annotations

from collections.abc import Iterator
from pkgutil import resolve_name

import pytest

from config.embedded.leash import Leash
from tests.conformance.counterparts import COUNTERPARTS, Counterpart, started

KINDS = ["http", "files"]  # what is tried where nothing else is asked for


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test for each kind."""
    if "counterpart" in metafunc.fixturenames:
        kinds = metafunc.config.getoption("--erp-kind") or KINDS
        metafunc.parametrize("counterpart", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def counterpart(request: pytest.FixtureRequest, leash: Leash) -> Iterator[Counterpart]:
    """The ERP, running; its tests leave it so."""
    named = request.config.getoption("--erp-counterpart")
    kind = resolve_name(named) if named else COUNTERPARTS[request.param]
    with started(kind, leash) as erp:
        yield erp
