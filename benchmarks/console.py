"""`make bench-console`: is a page as quick over a million orders as over 5,000, and what do 100 open consoles cost?

Two consoles, one on a small journal and one on a large one, are asked for the same pages in turn; the intake takes
orders without and with 100 browsers that watch the overview. Exit 1 when a page fails, and with `--strict` when a
target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import http.client
import re
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import multitude, report, watchers
from benchmarks.relais import journal
from benchmarks.rig import BenchmarkFailed, Rig, prepare
from config.embedded.process import module
from config.embedded.ready import answers
from config.settings import Settings
from orders.queries.products import Filling
from workers.console.access.sessions import COOKIE, Sessions

FEW: Final = 5_000
MANY: Final = 1_000_000
DEAD: Final = 0.1
WARM: Final = 5
PAGES: Final = (
    "/",
    "/live/series?span=1h",
    "/recovery",
    "/dead",
    "/dead/{cause}",
    "/orders",
    "/orders?state=dead",
    "/orders?state=dead&reason=invalid&client=bench",
    "/orders?state=accepted",
    "/orders?state=discarded",
    "/orders?pharmacy={pharmacy}&state=delivered",
    "/orders?product={product}",
    "/orders?state=delivered&backend=erp&priority=normal&since=30d",
    "/search?q={reference}",
    "/search?q={product}",
    "/search?q={erp}",
    "/search?q=M-",
    "{further}",
    "/order/{id}",
    "/pharmacy/{pharmacy}",
    "/operations",
    "/report",
    "/acts",
    "/backend/erp",
    "/account",
)
LONG: Final = "/search?q=M-"  # a list of every order; `further` is its second page
ACCOUNT: Final = text("INSERT INTO accounts (name, role) VALUES ('bench', 'approver') ON CONFLICT DO NOTHING")
LARGEST: Final = text("""
SELECT cause FROM deliveries WHERE state = 'dead' GROUP BY cause ORDER BY count(*) DESC LIMIT 1
""")


@dataclass(frozen=True)
class Site:
    """A console over a journal: where it listens, who asks, and what there is to look at."""

    port: int
    cookie: str
    things: Mapping[str, Any]

    def ask(self, connection: http.client.HTTPConnection, page: str) -> float:
        """Milliseconds until the page is there. Raises BenchmarkFailed when it is none."""
        began = time.perf_counter()
        self.read(connection, page)
        return (time.perf_counter() - began) * 1e3

    def read(self, connection: http.client.HTTPConnection, page: str) -> str:
        """The page. Raises BenchmarkFailed when it is none."""
        connection.request("GET", page.format(**self.things), headers={"Cookie": self.cookie})
        answer = connection.getresponse()
        read = answer.read()
        if answer.status != 200:
            raise BenchmarkFailed(f"{page} on {self.things['orders']:,} orders: {answer.status} {read[-300:]!r}")
        return read.decode()

    def knowing(self) -> Site:
        """The same, knowing where its longest list goes on."""
        with _connected(self) as connection:
            return replace(self, things={**self.things, "further": further(self.read(connection, LONG))})


def main() -> None:
    """Measure, print and write."""
    options = _options()
    prepare()
    with report.plainly(), Rig() as rig:
        machine = report.machine(rig)
        with report.console.status("100 open consoles"):
            figures = watchers.measure(rig, count=options.orders, rounds=options.rounds)
        with report.console.status(f"every page over {FEW:,} and {options.many:,} orders"):
            pages = measure(rig, options.many, options.times)
        figures |= summary(pages)
    show(figures["console_pages"])
    met = report.verdicts({name: figures[name] for name in ("console_page_ratio", "console_intake_p99_ratio")})
    report.merge({**figures, "machine_console": machine})
    if options.strict and not met:
        raise SystemExit(1)


def measure(rig: Rig, many: int, times: int) -> dict[str, dict[str, list[float]]]:
    """Of each page its times (ms) over few and many orders, asked in turn."""
    with site(rig, FEW) as small, site(rig, many) as large:
        found: dict[str, dict[str, list[float]]] = {page: {"few": [], "many": []} for page in PAGES}
        with _connected(small) as to_small, _connected(large) as to_large:
            for turn in range(WARM + times):
                for page, taken in found.items():
                    pair = {"few": small.ask(to_small, page), "many": large.ask(to_large, page)}
                    for name, each in pair.items():
                        if turn >= WARM:
                            taken[name].append(each)
    return found


@contextmanager
def site(rig: Rig, count: int) -> Iterator[Site]:
    """A console over a journal of so many orders, one in ten of them dead."""
    port = rig.port()
    with rig.journal() as url:
        things = asyncio.run(multitude.fill(url, count, DEAD))
        token, cause = journal(url, _prepared)
        env = {"RELAIS_DATABASE_URL": url, "RELAIS_DATA_DIR": str(rig.home), "RELAIS_LOG_LEVEL": "WARNING"}
        env["RELAIS_REDIS_URL"] = rig.valkey.url
        argv = module("workers.cli", "console", "--port", str(port))
        with rig.running("console", argv, env, answers(f"http://127.0.0.1:{port}/healthz")):
            yield Site(port, f"{COOKIE}={token}", {**things, "cause": cause, "orders": count}).knowing()


def further(page: str) -> str:
    """Where a page's list goes on, by the cursor that the console gave it. Raises BenchmarkFailed where it ends."""
    found = re.search(r'href="([^"]+)" rel="next"', page)
    if found is None:
        raise BenchmarkFailed("the list has no second page")
    return html.unescape(found[1])


async def _prepared(engine: AsyncEngine) -> tuple[str, int]:
    """The token of a session, and the cause of most dead letters; products are found by now."""
    await found(engine)
    async with engine.connect() as connection:
        await connection.execute(ACCOUNT)
        cause = (await connection.execute(LARGEST)).scalar_one()
    return await Sessions(engine, Settings(_env_file=None)).begin("bench"), cause


async def found(engine: AsyncEngine) -> None:
    """Fill the index of products, as a worker would by and by."""
    filling = Filling()
    while (step := await filling.step(engine)) is not None and step.more:
        pass


@contextmanager
def _connected(where: Site) -> Iterator[http.client.HTTPConnection]:
    with ExitStack() as stack:
        connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=60)
        stack.callback(connection.close)
        yield connection


def summary(found: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """The largest ratio of two p95, and each page's."""
    pages = {}
    for page, taken in found.items():
        few, many = (statistics.quantiles(taken[name], n=20)[-1] for name in ("few", "many"))
        pages[page] = {"few_p95_ms": round(few, 2), "many_p95_ms": round(many, 2), "ratio": round(many / few, 3)}
    return {"console_page_ratio": max(each["ratio"] for each in pages.values()), "console_pages": pages}


def show(pages: Mapping[str, Mapping[str, float]]) -> None:
    """The table on the screen."""
    table = report.table("Pages of the console, p95", "few orders, ms", "many, ms", "ratio")
    for page, each in pages.items():
        table.add_row(page, *(f"{each[name]:,.2f}" for name in ("few_p95_ms", "many_p95_ms", "ratio")))
    report.console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.console", description=__doc__)
    parser.add_argument("--many", type=int, default=MANY, help="orders of the large journal")
    parser.add_argument("--times", type=int, default=60, help="that each page is asked for")
    parser.add_argument("--orders", type=int, default=8_000, help="that the intake takes each time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
