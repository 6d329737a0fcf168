"""What an ERP wrote is masked on every page that a link leads to, wherever in the journal it stands."""

import asyncio
import json
import re
from urllib.parse import unquote
from uuid import UUID

from sqlalchemy import text

from config.settings import Settings
from tests.journal import Journal
from tests.machines.roles import above
from tests.past import HOURS, Past, leading
from tests.workers.console.site import Browser, serving

SECRET = "Mme Weiss"
MET = json.dumps({"code": "met", "detail": f"no answer in time: {SECRET}"})
PROVED = json.dumps(
    {"code": "proved", "evidence": "wrong_digest", "order": str(UUID(int=7)), "detail": f"receipt SIM-1 {SECRET}"}
)
FOUND = json.dumps({"answered": 1, "failed": 1, "delivered": 0, "refused": 0, "slow": None})
KEPT = {"met": MET, "proved": PROVED, "found": FOUND}
PLANTED = (
    """UPDATE backends SET circuit = 'open', probe_at = now() + interval '1 hour', why = :met, failing_since = now(),
      quarantined = true, quarantined_at = now(), quarantined_by = 'relais', held_why = :proved""",
    """UPDATE deliveries SET state = 'dead', reason = 'exhausted', error = 'no answer in time: ' || :secret,
      settled_at = now(), status = 503 WHERE order_id IN (SELECT order_id FROM deliveries LIMIT 2)""",
    """UPDATE deliveries SET error = :secret, attempts = 1, due_at = now() + interval '1 hour', unsure = true
      WHERE state = 'accepted'""",
    """INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, status, detail, worker)
      SELECT order_id, gen_random_uuid(), now(), now(), 'unknown', 500, :secret, 'w' FROM deliveries""",
    """INSERT INTO receipts (order_id, lease, backend, reference, lines, received_at) SELECT order_id,
      gen_random_uuid(), 'erp', 'SIM-1 ' || :secret, jsonb_build_array(jsonb_build_object('line', 1,
        'product', :secret, 'accepted', 0, 'reason', :secret)), now() FROM deliveries""",
    """INSERT INTO evidence (backend, order_id, lease, kind, conclusive, detail)
      SELECT 'erp', order_id, lease, 'wrong_digest', true, 'receipt SIM-1 ' || :secret FROM attempts""",
    """INSERT INTO replays (backend, choice, state, stage, why, started_by, orders, history) VALUES ('erp', '{}',
      'holding', 10, :met, 'luc', 3, jsonb_build_array(jsonb_build_object('stage', 1, 'at', now(), 'found',
        :found, 'failed', :met)))""",
    """INSERT INTO reconciliations (backend, since, until, started_by, cursor_at, cursor_id, listing, state, altered)
      VALUES ('erp', now(), now(), 'luc', now(), gen_random_uuid(), :secret, 'done', 3)""",
    """INSERT INTO findings (reconciliation, order_id, kind, detail)
      SELECT 1, order_id, 'altered', jsonb_build_object('code', 'other_reference', 'reference', 'E ' || :secret,
        'was', 'F ' || :secret) FROM deliveries""",
    """INSERT INTO operations (operator, act, reason, detail) SELECT 'relais', 'release', 'odd', jsonb_build_object(
      'backend', 'erp', 'held_why', :proved, 'was', jsonb_build_object('error', :secret))""",
    """INSERT INTO outages (backend, began_at, opened_at, failed_at, failures, why)
      VALUES ('erp', now(), now(), now(), 3, :met)""",
)


def kind_of(href: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/)-?\d+|(?<==)[^&]+", "#", href)


async def walk(browser: Browser) -> dict[str, str]:
    """A page of each kind that links lead to, by its address."""
    found, waiting, kinds = {}, ["/", "/recovery/standing", "/live/stores"], set()
    while waiting and len(found) < 70:
        path = waiting.pop(0)
        page = await browser.get(path)
        found[path] = page.text
        for href in re.findall(r'(?:href|hx-get)="(/[^"#]+)"', page.text.replace("&amp;", "&")):
            if (kind := kind_of(href)) not in kinds and not href.startswith("/static"):
                kinds.add(kind)
                waiting.append(href)
    return found


def test_an_erps_words_stand_unmasked_on_no_page(settings: Settings) -> None:
    journal = Journal(above(str(settings.journal.url)))
    past = Past(journal)
    past.came(3, HOURS, HOURS * 0, "accepted", cut_off=None)

    async def work() -> dict[str, str]:
        async with serving(settings) as site:
            jeanne = await site.enter()
            async with site.owner.connect() as connection:
                for planted in PLANTED:
                    typed = planted.replace(":secret", "CAST(:secret AS text)")
                    for name in KEPT:
                        typed = typed.replace(f":{name}", f"CAST(:{name} AS jsonb)")
                    values = {**KEPT, "secret": SECRET}
                    await connection.execute(
                        text(typed), {name: values[name] for name in values if f":{name}" in typed}
                    )
            return await walk(jeanne)

    with leading(journal):
        pages = asyncio.run(work())
    assert len(pages) > 25
    leaks = {
        path: re.findall(".{0,120}(?:Weiss|SIM-1).{0,60}", unquote(page))
        for path, page in pages.items()
        if "Weiss" in page or "SIM-1" in page
    }
    assert leaks == {}
