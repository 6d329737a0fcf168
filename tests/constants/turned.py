"""Processes with other constants: see `tests/constants/sitecustomize.py`."""

import os
from pathlib import Path

PLACES = {
    "FIRST_PROBE": "workers.delivery.circuit_breaker",
    "LAST_PROBE": "workers.delivery.circuit_breaker",
    "POLL_PAUSE": "workers.delivery.retry_policy",
    "FIRST_PAUSE": "workers.webhooks.retry_policy",
    "LONGEST_PAUSE": "workers.webhooks.retry_policy",
    "MOST_IDS": "workers.queue.names",
}

SOON = {"FIRST_PROBE": 0.5, "LAST_PROBE": 2.0, "POLL_PAUSE": 0.5}  # seconds: outages that tests make are short


def turned(**constants: float) -> dict[str, str]:
    """What the environment of a process has, and of all that it starts, so that these constants are other ones."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    said = " ".join(f"{PLACES[name]}:{name}={value}" for name, value in constants.items())
    return {"PYTHONPATH": os.pathsep.join(path), "RELAIS_TEST_CONSTANTS": said}
