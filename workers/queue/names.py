"""Names that dispatcher and workers agree on: tasks, headers, and how many ids a message carries."""

from __future__ import annotations

MOST_IDS = 200
REQUESTS = "relais_requests"  # the header with the ids of requests

DELIVER = "relais.deliver"
POLL = "relais.poll"
TELL = "relais.tell"
CANARY = "relais.canary"
