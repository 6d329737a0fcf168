"""Who comes to a console whose journal and provider are there: that one is slow is another test's."""

import pytest

from tests.waiting import BUSY
from workers.console.access import oidc
from workers.console.live import poller


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine too."""
    for module, name in ((poller, "LOOK_TIMEOUT"), (poller, "SILENT"), (oidc, "CALL_TIMEOUT")):
        monkeypatch.setattr(module, name, BUSY)
