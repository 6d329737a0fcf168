"""Workers that answer canaries, and settings under which one that does not is found out within seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config.settings import Settings
from tests.acceptance.supervised import query
from tests.machines.roles import above
from tests.waiting import until

QUICK = {
    "erp_url": "http://127.0.0.1:1",
    "canary_every": 0.5,
    "worker_concurrency": 2,
    "erp_timeout": 0.5,
    "batch_budget": 0.5,
    "lease": 3.0,
}


OUT = (
    "CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'kept out'; END $$",
    "CREATE TRIGGER keep_out BEFORE INSERT ON processes FOR EACH ROW EXECUTE FUNCTION keep_out()",
    "DELETE FROM processes",
)
ALIVE = (
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
    "WHERE locktype = 'advisory' AND application_name = 'relais life'"
)


@contextmanager
def kept_out(url: str) -> Iterator[None]:
    """No process can show that it lives: canaries are answered, and no order is taken."""
    query(url, *OUT)
    try:
        until(lambda: query(url, ALIVE) == 0, 10, 0.1, "each process knows that it is out")
        yield
    finally:
        query(url, "DROP FUNCTION keep_out() CASCADE")


def asked(settings: Settings, question: str) -> Any:
    return query(above(settings.need("database_url")), question)


def fresh(settings: Settings) -> bool:
    """A worker answered within the last second."""
    return bool(asked(settings, "SELECT count(*) FROM workers WHERE answered_at > now() - interval '1 s'"))
