"""A Valkey of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.valkey import Valkey


@pytest.fixture
def server(leash: Leash, data_dir: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be frozen, killed or configured."""
    valkey = Valkey(data_dir, choose())
    valkey.start(leash)
    yield valkey
    valkey.stop()
