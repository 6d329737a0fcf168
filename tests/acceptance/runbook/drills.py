"""What brings an installation into the state of each section of the runbook, by its real cause.

A drill is a generator: it produces the state and yields before each block of the section's commands, so that what
other people do meanwhile (the ERP's, the database's) happens where the runbook says so. After the last block it says
what must be true.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orders.states import CodeKind
from tests.acceptance.apart import MEDICINE
from tests.acceptance.runbook.losses import (
    disk_filling,
    exporter_down,
    intake_refusing,
    no_leader,
    postgresql_failover,
    redis_lost,
    redis_memory,
    spill_forged,
    worker_stuck,
)
from tests.acceptance.runbook.site import Site
from tests.waiting import until
from workers.erp.keyfile import generate
from workers.mapping.current_mapping import unmapped

Drill = Callable[[Site], Iterator[None]]
NOT_SOLD = "3400938615470"
MAPPED = ("RELAIS_ERP_KIND", "RELAIS_ERP_CONNECTOR")  # by which an operator's commands know a connector with a mapping


def erp_down(site: Site) -> Iterator[None]:
    site.submit(5)
    site.delivered()
    site.dial(down=True)
    site.submit(30)
    until(lambda: circuit(site) == "open", 30, what="the circuit opened")
    yield
    assert site.waiting() == 30
    site.dial()
    yield
    assert site.one("SELECT max(attempts) FROM deliveries") <= 1, "the outage cost no attempt"


def erp_compromised(site: Site) -> Iterator[None]:
    site.submit(5)
    site.delivered()
    site.dial(tamper="digest")
    site.submit(1)
    until(lambda: site.one("SELECT quarantined FROM backends"), 30, what="the lie is found out")
    site.submit(20)
    assert site.waiting() == 21
    yield
    yield
    assert (site.home / "before.html").stat().st_mode & 0o077 == 0
    kept = json.loads((site.home / "evidence.json").read_text())
    assert "wrong_digest" in [piece["kind"] for piece in kept]
    generate(site.data_dir / "erp-2.key")
    shutil.copy(site.data_dir / "erp-2.key.pub", site.home / "erp-new.pub")
    site.erp.end()
    site.sim("erp-2")
    site.variables |= {"OLD_KEY": "erp-1", "NEW_KEY": "erp-2"}
    yield
    yield
    site.variables["DIGEST"] = site.said[-1].split("--approve ")[1].split()[0]
    assert site.ask('relais release "$BACKEND" --yes --approve "$DIGEST" --because "a drill"').returncode == 1, (
        "not by the same operator"
    )
    site.known_as("bob")
    yield
    site.known_as("alice")
    assert site.waiting() == 21, "nothing goes before the replay"
    yield
    yield
    assert site.one("SELECT count(*) FROM receipts WHERE key_id = 'erp-2'") >= 20


def keys_rotation(site: Site) -> Iterator[None]:
    old = site.key
    site.variables["CLIENT"] = "front"
    yield
    assert (site.home / "client-keys.csv").stat().st_mode & 0o077 == 0
    new = dict(line.split(",") for line in (site.home / "client-keys.csv").read_text().splitlines())
    assert {*new} >= {"client", "front", "other"}
    site.submit(1)
    site.key = new["front"]
    site.submit(1)
    yield
    until(lambda: site.order()[0] == 401, 20, what="the leaked key is out of force")
    site.key = old
    assert site.order()[0] == 401
    site.key = (site.home / "client-key.txt").read_text().strip()
    site.submit(1)


def poison_order(site: Site) -> Iterator[None]:
    site.dial(refuse_products=[NOT_SOLD])
    site.variables["ORDER"], site.variables["OTHER"] = site.submit(2, lines=[{"product": NOT_SOLD, "quantity": 1}])
    good = site.submit(10)
    until(lambda: site.one("SELECT count(*) FROM deliveries WHERE state = 'dead'") == 2, 30, what="two are dead")
    site.delivered()
    yield
    assert set(good) <= {str(row[0]) for row in site.sql("SELECT order_id FROM deliveries WHERE state = 'delivered'")}
    site.dial()
    yield
    yield
    assert site.one("SELECT count(*) FROM deliveries WHERE state = 'dead'") == 0


def codes_unmapped(site: Site) -> Iterator[None]:
    unmapped_order(site)
    yield
    yield
    site.delivered()
    assert site.one("SELECT count(*) FROM deliveries WHERE state = 'dead'") == 0
    for name in MAPPED:
        del site.parts.env[name]


def answers_overdue(site: Site) -> Iterator[None]:
    site.dial(confirm_later=30)
    (site.variables["ORDER"],) = site.submit(1)
    late = "SELECT count(*) FROM deliveries WHERE state = 'submitted' AND sent_at < now() - interval '1 s'"
    until(lambda: site.one(late) == 1, 30, what="its answer is overdue")
    yield
    site.dial()
    yield
    site.delivered()


def answers_set_aside(site: Site) -> Iterator[None]:
    site.submit(1)
    exchange = Path(site.variables["WORK"]).parent
    file = until(lambda: next((exchange / "orders").iterdir(), None), 30, what="the order is handed over")
    (exchange / "answers" / "first.csv").write_bytes(b"PK\x03\x04, as a program packed it\r\n")
    until(lambda: site.one("SELECT set_aside FROM backends") == 1, 60, 0.5, "a worker has counted it")
    yield
    (exchange / "answers" / "again.csv").write_text(f"CDE;ETAT\r\n{file.stem};OK\r\n")
    yield
    yield
    assert site.one("SELECT set_aside FROM backends") == 0
    assert len([*(exchange / "relais" / "seen").iterdir()]) == 2, "the file and its reason"


def unmapped_order(site: Site) -> None:
    """As a worker leaves one whose connector needs a mapping: that of the drills does not, the operator's does."""
    site.dial(refuse_products=[NOT_SOLD])
    site.submit(1, lines=[{"product": NOT_SOLD, "quantity": 1}])
    until(lambda: site.one("SELECT count(*) FROM deliveries WHERE state = 'dead'") == 1, 30, what="it is dead")
    site.dial()
    why = unmapped([(CodeKind.PRODUCT, NOT_SOLD)])
    told = f"error = '{why}', why = '{json.dumps(why.stored())}'"
    site.sql(f"UPDATE deliveries SET reason = 'unmapped', {told} WHERE state = 'dead'")
    own = site.home / "tryton.toml"
    own.write_text('database = "erp"\nuser = "relais"\npassword_file = "none"\ncompany = 1\ncurrency = 1\n')
    site.parts.env |= dict(zip(MAPPED, ("tryton", str(own)), strict=True))
    codes = {"pharmacy,customer": site.sql("SELECT DISTINCT pharmacy FROM orders")}
    codes["product,article"] = [(NOT_SOLD,), (MEDICINE,)]
    for name, (header, rows) in zip(("PHARMACIES", "PRODUCTS"), codes.items(), strict=True):
        path = site.home / f"{name.lower()}.csv"
        path.write_text("\n".join([header, *(f"{row[0]},ERP-{row[0]}" for row in rows)]))
        site.variables[name] = str(path)


def backlog_old(site: Site) -> Iterator[None]:
    assert site.ask('relais pause "$BACKEND" --because "the ERP is maintained"').returncode == 0
    site.submit(20)
    yield
    assert site.waiting() == 20
    yield


def cut_off_at_risk(site: Site) -> Iterator[None]:
    site.submit(30)
    site.delivered()
    assert site.ask('relais rate "$BACKEND" 0.1 --because "month-end closing"').returncode == 0
    until(lambda: limited(site), 30, 1.2, "the leader goes by the rate, which it learns within a second")
    site.submit(40, cut_off=(datetime.now(UTC) + timedelta(seconds=120)).isoformat())
    late = [each["late_p95"] for each in site.json("relais forecast")["cut_offs"]]
    assert sum(late) > 0, "some will miss their cut-off"
    yield
    yield


def replay_holds(site: Site) -> Iterator[None]:
    assert site.ask('relais pause "$BACKEND" --because "the ERP restarts"').returncode == 0
    site.submit(30)
    site.dial(error_rate=1.0)
    assert site.ask('relais replay "$BACKEND" --yes --no-wait --because "a drill"').returncode == 0
    assert site.ask('relais resume "$BACKEND" --because "a drill"').returncode == 0
    until(lambda: site.one("SELECT state FROM replays ORDER BY id DESC LIMIT 1") == "holding", 60, what="it holds")
    yield
    site.dial()
    yield


def audit_failed(site: Site) -> Iterator[None]:
    site.submit(3)
    site.delivered()
    assert site.ask("relais admin seal").returncode == 0
    (victim,) = site.sql("SELECT id, client FROM orders ORDER BY id LIMIT 1")
    behind_its_back(site, f"UPDATE orders SET client = 'mallory' WHERE id = '{victim[0]}'")
    yield
    behind_its_back(site, f"UPDATE orders SET client = '{victim[1]}' WHERE id = '{victim[0]}'")
    yield


def erp_restored(site: Site) -> Iterator[None]:
    site.submit(40)
    site.delivered()
    lost = set(site.forget(0.3))
    assert lost
    yield
    found = site.json("relais reconcile --list")[0]
    site.variables["NUMBER"] = str(found["id"])
    assert found["missing"] == len(lost)
    yield


def end_of_incident(site: Site) -> Iterator[None]:
    site.variables["BEGAN"] = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M")
    site.submit(5)
    site.variables["ENDED"] = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M")
    yield
    for name in ("incident.html", "incident.json", "evidence.json", "seal-keys.json"):
        assert (site.home / name).stat().st_mode & 0o077 == 0
        assert (site.home / name).stat().st_size > 2


DRILLS: dict[str, Drill] = {
    drill.__name__.replace("_", "-"): drill
    for drill in (
        erp_down,
        poison_order,
        codes_unmapped,
        answers_overdue,
        answers_set_aside,
        erp_compromised,
        keys_rotation,
        redis_lost,
        postgresql_failover,
        intake_refusing,
        redis_memory,
        spill_forged,
        worker_stuck,
        no_leader,
        backlog_old,
        cut_off_at_risk,
        replay_holds,
        audit_failed,
        exporter_down,
        erp_restored,
        end_of_incident,
        disk_filling,
    )
}


def circuit(site: Site) -> str:
    return str(site.one("SELECT circuit FROM backends"))


def limited(site: Site) -> int:
    """How many of the orders that were handed over at the last look, more than a second ago, still wait."""
    waiting = int(site.one("SELECT count(*) FROM deliveries WHERE state = 'accepted'"))
    site.submit(2)
    return waiting


def behind_its_back(site: Site, statement: str) -> None:
    """As PostgreSQL's superuser can: with the guards off."""
    site.sql("ALTER TABLE orders DISABLE TRIGGER ALL")
    site.sql(statement)
    site.sql("ALTER TABLE orders ENABLE TRIGGER ALL")
