"""TODO"""

from __future__ import annotations

MOST_IDS = 200
REQUESTS = "relais_requests"  # the header with the ids of requests
