"""A journal with a past of a test's making, for what looks back: the forecast, and pages that show it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from orders.journal import connect
from tests.journal import Journal
from workers.dispatch.leadership import LEADER_LOCK

# An id that says when its order came, as UUIDv7 does; n makes it unique.
ID = """CAST(lpad(to_hex(CAST(floor(extract(epoch FROM came) * 1000) AS bigint)), 12, '0') || '7' ||
  substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15) AS uuid)"""


class Past:
    """A journal with a past of our making."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.sql = journal, journal.sql
        self.sql("""INSERT INTO backends (name, "window") VALUES ('erp', 2000)""")
        self._made = 0

    def came(self, count: int, since: timedelta, until: timedelta, state: str = "delivered", **fields: Any) -> None:
        """Orders that came evenly between so long ago and so long ago."""
        values: dict[str, Any] = {"backend": "erp", "priority": 1, "cut_off": None, **fields}
        self.sql(
            f"""WITH made AS (
              INSERT INTO orders (id, pharmacy, reference, body, digest, received_at, client)
              SELECT {ID}, 'P' || n % 50, 'R' || n, decode(repeat('ab', 40 + n * 37 % 400), 'hex'), '', came, 'c'
              FROM (
                SELECT n + CAST(:made AS int) AS n,
                  now() - CAST(:since AS interval)
                    + (CAST(:since AS interval) - CAST(:until AS interval)) * n / :count AS came
                FROM generate_series(1, :count) n) t ORDER BY n
              RETURNING id, received_at)
            INSERT INTO deliveries (order_id, state, backend, priority, cut_off, accepted_at)
            SELECT id, :state, :backend, :priority, coalesce(CAST(:cut_off AS timestamptz), 'infinity'), received_at
            FROM made""",
            made=self._made,
            since=since,
            until=until,
            count=count,
            state=state,
            **values,
        )
        self._made += count

    def took(self, count: int, seconds: float, backend: str = "erp") -> None:
        """The last of what was delivered was settled evenly over the last `seconds`."""
        self.sql(
            """WITH settled AS (
              INSERT INTO receipts (order_id, lease, backend, reference, lines, received_at)
              SELECT order_id, gen_random_uuid(), :backend, 'E', '[]',
                now() - make_interval(secs => CAST(:seconds AS float8) * n / :count)
              FROM (SELECT order_id, row_number() OVER (ORDER BY order_id) AS n FROM deliveries
                WHERE state = 'delivered' AND backend = :backend ORDER BY order_id DESC LIMIT :count) d
              RETURNING order_id, lease, received_at)
            INSERT INTO attempts
            SELECT order_id, lease, received_at - interval '80 ms', received_at, 'accepted', 200, '', 'w'
            FROM settled""",
            count=count,
            seconds=seconds,
            backend=backend,
        )


HOURS = timedelta(hours=1)


@contextmanager
def leading(journal: Journal) -> Iterator[None]:
    """As though a worker led."""
    loop = asyncio.new_event_loop()
    engine = connect(journal.url, pool=1)
    connection = loop.run_until_complete(engine.connect())
    loop.run_until_complete(connection.execute(text(f"SELECT pg_advisory_lock({LEADER_LOCK})")))
    try:
        yield
    finally:
        loop.run_until_complete(connection.close())
        loop.run_until_complete(engine.dispose())
        loop.close()
