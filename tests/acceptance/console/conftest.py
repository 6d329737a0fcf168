"""A whole Relais, where a release takes two, and browsers at its console; a module may have another one of its own."""

from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from tests.acceptance.console.acting import looking_at
from tests.acceptance.console.browsing import Browsers
from tests.acceptance.running import Relais, up


@pytest.fixture
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash, RELAIS_FOUR_EYES="true") as relais:
        yield relais


@pytest.fixture
def browsers(relais: Relais) -> Iterator[Browsers]:
    with looking_at(relais) as browsers:
        yield browsers
