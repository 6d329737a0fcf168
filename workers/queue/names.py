"""Names that dispatcher and workers agree on: tasks, headers, and how many ids a message carries."""

from __future__ import annotations

from typing import Final

MOST_IDS: Final = 200  # orders or notices in one message: a worker claims so many at once, and forgets so many at most
REQUESTS = "relais_requests"  # the header with the ids of requests

DELIVER = "relais.deliver"
POLL = "relais.poll"
TELL = "relais.tell"
CANARY = "relais.canary"
