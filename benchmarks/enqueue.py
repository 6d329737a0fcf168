"""A front end of plain Celery: a tight loop of `delay`, once the producer is warm and somebody says go.

`python -m benchmarks.enqueue ORDERS PART PARTS` enqueues every PARTS-th order from PART on; says `ready`, waits for a
line on stdin, and prints when it began and ended (monotonic seconds) and its processor time.
"""

from __future__ import annotations

import json
import sys
import time

from benchmarks.plain import app, forward
from benchmarks.sample import orders


def main() -> None:
    """Enqueue this process's part."""
    count, part, parts = map(int, sys.argv[1:])
    mine = orders(count)[part::parts]
    with app.producer_or_acquire() as producer:  # connected, and back in the pool for `delay`
        producer.connection.ensure_connection(max_retries=3)
        producer.channel.client.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    began, used = time.monotonic(), time.process_time()
    for order in mine:
        forward.delay(order)
    ended, used = time.monotonic(), time.process_time() - used
    print(json.dumps({"began": began, "ended": ended, "cpu": used}), flush=True)


if __name__ == "__main__":
    main()
