"""A journal of many orders, delivered or dead, filled by PostgreSQL itself: a million in about two minutes.

One order in ten is dead where a tenth is asked for, of 40 causes; the others are delivered, with an attempt and a
receipt each. They are spread over the last ten days, with the ids that they would have got then.
"""

from __future__ import annotations

import json
from typing import Any, Final

import asyncpg

from benchmarks.sample import PHARMACIES
from orders.journal.hosts import listener_dsn
from orders.rules.catalogue import demo_catalogue

CHUNK: Final = 50_000
SPAN: Final = 10 * 86400  # seconds
CAUSES: Final = 40
CODES: Final = 300  # products that are ordered

CROWD: Final = """
CREATE TEMP TABLE crowd AS
SELECT n, uuidv7(-a.age) AS id, clock_timestamp() - a.age AS at, gen_random_uuid() AS lease,
  'C' || to_char(n % $3, 'FM00000') AS pharmacy, 'M-' || to_char(n, 'FM00000000') AS reference,
  n % 1000 < $4 AS dead, (n / 1000 + n) % $5 AS cause,
  convert_to(format('{"lines":[{"product":"%s","quantity":%s},{"product":"%s","quantity":1}],"pharmacy":"%s",'
    '"priority":"normal","reference":"%s"}', p.codes[1 + n % $6], 1 + n % 5, p.codes[1 + (n * 7 + 3) % $6],
    'C' || to_char(n % $3, 'FM00000'), 'M-' || to_char(n, 'FM00000000')), 'UTF8') AS body
FROM generate_series($1::int, $2::int) AS n, (SELECT CAST($7 AS text[]) AS codes) p,
  LATERAL (SELECT make_interval(secs => $9 * (1 - n / $8::float8)) AS age) a
"""

FILL: Final = (
    """INSERT INTO orders (id, pharmacy, reference, body, digest, received_at, client)
       SELECT id, pharmacy, reference, body, sha256(body), at, 'bench' FROM crowd ORDER BY n""",
    """INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, status, detail, worker)
       SELECT id, lease, at, at + interval '80 ms', CASE WHEN dead THEN 'refused' ELSE 'accepted' END,
         CASE WHEN dead THEN 400 + cause % 23 ELSE 201 END,
         CASE WHEN dead THEN format('cause %s of article %s', chr(65 + cause % 26), n) ELSE '' END, 'bench'
       FROM crowd ORDER BY n""",
    """INSERT INTO receipts (order_id, lease, backend, reference, digest, lines, received_at)
       SELECT id, lease, 'erp', 'S' || n, sha256(body), '[]', at + interval '80 ms' FROM crowd WHERE NOT dead
       ORDER BY n""",
    """INSERT INTO deliveries (order_id, state, backend, priority, cut_off, accepted_at, attempts, reason, error,
         settled_at)
       SELECT id, CASE WHEN dead THEN 'dead' ELSE 'delivered' END, 'erp', 1, 'infinity', at, 1,
         CASE WHEN dead THEN (ARRAY['refused', 'exhausted', 'refused', 'invalid'])[1 + cause % 4] END,
         CASE WHEN dead THEN format('HTTP %s: cause %s of article %s', 400 + cause % 23, chr(65 + cause % 26), n) END,
         at + interval '90 ms' FROM crowd ORDER BY n""",
    """INSERT INTO events (order_id, at, state, reason)
       SELECT id, at + interval '90 ms', CASE WHEN dead THEN 'dead' ELSE 'delivered' END, NULL FROM crowd
       ORDER BY n""",
)

NEWEST: Final = """
SELECT o.id, o.pharmacy, o.reference, o.body, r.reference AS erp FROM orders o JOIN receipts r ON r.order_id = o.id
ORDER BY o.id DESC LIMIT 1
"""


async def fill(url: str, count: int, dead: float) -> dict[str, Any]:
    """Put `count` orders into a migrated journal, the share `dead` of them dead letters; one of each, to look at."""
    connection = await asyncpg.connect(listener_dsn(url), command_timeout=600)
    codes = list(demo_catalogue())[:CODES]
    await connection.execute("SET synchronous_commit = off")
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count) - 1
        values = (first, last, PHARMACIES, round(dead * 1000), CAUSES, len(codes), codes, count, float(SPAN))
        async with connection.transaction():
            await connection.execute("DROP TABLE IF EXISTS crowd")
            await connection.execute(CROWD, *values)
            for statement in FILL:
                await connection.execute(statement)
    await connection.execute("CHECKPOINT")
    await connection.execute("VACUUM ANALYZE")
    found = await connection.fetchrow(NEWEST)
    await connection.close()
    product = json.loads(found["body"])["lines"][0]["product"]
    return {**{name: found[name] for name in ("id", "pharmacy", "reference", "erp")}, "product": product}
