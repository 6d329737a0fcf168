"""Who did what: paged downward, filtered by operator and act, shown as text, others' words masked."""

from __future__ import annotations

import asyncio
import html
import json
import re
from pathlib import Path

from sqlalchemy import text

from config.settings import Settings
from config.telemetry.visible import HIDING
from tests.machines.roles import above
from tests.workers.console.site import serving, text_of
from workers.console.access.people import Role
from workers.up.simulator import trust_simulator

MAKE = text("""
INSERT INTO operations (operator, act, reason, detail)
SELECT CASE WHEN n % 2 = 0 THEN 'alice' ELSE 'bob' END, CASE WHEN n % 100 = 0 THEN 'pause' ELSE 'resume' END,
  'reason ' || n, '{"backend": "erp"}' FROM generate_series(1, 700) n
""")
ODD = text("""
INSERT INTO operations (operator, act, reason, detail) VALUES ('<b>eve</b>', 'discard', '<script>alert(1)</script>',
  jsonb_build_object('ids', (SELECT jsonb_agg(gen_random_uuid()) FROM generate_series(1, 40)), 'note', '<img src=x>'))
""")

FOREIGN = text("""
INSERT INTO operations (operator, act, reason, detail) VALUES ('bob', 'release', 'asked Mme Weiss',
  jsonb_build_object('held_why', jsonb_build_object('code', 'proved', 'evidence', 'wrong_digest',
    'order', '0199a2b4-7c11-7def-8abc-0123456789ab', 'detail', 'for M. Durand'), 'was', jsonb_build_object(
    'held_why', 'wrong_digest, order 0199a2b4-7c11-7def-8abc-0123456789ab: kept as text once, for M. Durand'),
  'sound', true,
  'next', jsonb_build_object('raw', 'of M. Durand', 'error', 'unfit: for M. Durand', 'queue', 'relais.normal.erp')))
""")


def reasons(page: str) -> list[str]:
    return re.findall(r"reason (\d+)", page)


def older(page: str) -> str | None:
    found = re.search(r'href="([^"]+)" rel="next"', page)
    return html.unescape(found[1]) if found else None


def test_every_act_is_found_once_and_a_filter_finds_all_of_its_own(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            async with site.owner.connect() as connection:
                await connection.execute(MAKE)
            wanted = {
                "/operations": range(700, 0, -1),
                "/operations?operator=alice": range(700, 0, -2),
                "/operations?operator=alice&act=pause": range(700, 0, -100),
            }
            for address, numbers in wanted.items():
                seen: list[str] = []
                place: str | None = address
                while place:
                    page = (await jeanne.get(place)).text
                    assert len(reasons(page)) <= 50
                    seen += reasons(page)
                    place = older(page)
                assert seen == [str(number) for number in numbers], address
            cursor = older((await jeanne.get("/operations")).text)
            assert cursor is not None
            assert (await jeanne.get(f"{cursor}&operator=alice")).status_code == 422, "it is another list's"
            assert (await jeanne.get("/operations?after=AAAA")).status_code == 422
            assert (await jeanne.get("/operations?operator=%00")).status_code == 422

    asyncio.run(work())


def test_why_relais_did_something_by_itself_is_told_in_ones_language(settings: Settings, tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            await trust_simulator(settings.replace(database_url=above(str(settings.journal.url)), data_dir=tmp_path))
            jeanne = await site.enter(role=Role.VIEWER)
            told = {"en": "why the simulated ERP signs its receipts", "fr": "pourquoi l'ERP simulé signe ses accusés"}
            for language, why in told.items():
                page = await jeanne.get("/operations", headers={"Accept-Language": language})
                assert f"{why} " in html.unescape(text_of(page))
            assert "simulator" not in page.text

    asyncio.run(work())


def test_what_stands_in_an_act_is_text_long_lists_are_folded_and_others_words_masked(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            async with site.owner.connect() as connection:
                await connection.execute(ODD)
            listed, one = await jeanne.get("/operations"), await jeanne.get("/operations/1")
            for page in (listed, one):
                assert not {"<script>alert", "<img", "<b>"} & set(re.findall(r"<script>alert|<img|<b>", page.text))
                assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
            assert "and 35 more" in text_of(listed)
            assert len(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}", one.text)) == 40
            async with site.owner.connect() as connection:
                await connection.execute(FOREIGN)
            for page in (await jeanne.get("/operations?operator=bob"), await jeanne.get("/operations/2")):
                told = text_of(page)
                assert "Durand" not in told, "it may be a patient"
                assert "wrong_digest, order 0199a2b4-7c11-7def-8abc-0123456789ab: (masked)" in told
                assert "raw: (masked), " in told and "relais.normal.erp" in told and "asked Mme Weiss" in told
            for number in ("3", "0", "x", "-1", "9" * 19, "9" * 30, "%00", "1.5"):
                assert (await jeanne.get(f"/operations/{number}")).status_code == 404, number
            assert (await site.stranger().get("/operations")).status_code == 303

    asyncio.run(work())


def test_what_hides_in_a_text_is_visible_on_every_page(settings: Settings) -> None:
    evil = "\u202e\u2066nam\x9b<i>\u2028\u200f"
    acted = text("INSERT INTO operations (operator, act, reason, detail) VALUES (:evil, 'pause', :evil, :detail)")
    held = text("""INSERT INTO backends (name, "window", quarantined, quarantined_at, quarantined_by, held_why)
      VALUES ('erp', 1, true, now(), :evil, to_jsonb(CAST(:evil AS text)))""")

    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            async with site.owner.connect() as connection:
                await connection.execute(held, {"evil": evil})
                await connection.execute(acted, {"evil": evil, "detail": json.dumps({"backend": "erp", "why": evil})})
            for path in ("/operations", "/operations/1", "/backend/erp", "/recovery"):
                page = (await jeanne.get(path)).text
                assert not HIDING.search(page), path
                assert r"\u202e\u2066nam\x9b&lt;i&gt;\u2028\u200f" in page, path

    asyncio.run(work())


STEPS = text("""
WITH act AS (
  INSERT INTO acts (id, kind, chosen, fields, reason, operator, role, state)
  VALUES (gen_random_uuid(), 'dead-discard', '{}', '{}', 'spoilt', 'alice', 'operator', 'done') RETURNING id
), done AS (
  INSERT INTO operations (operator, act, reason, detail) SELECT 'alice', 'discard', 'spoilt', jsonb_build_object(
    'act', act.id, 'orders', CASE WHEN n = 3 THEN 345 ELSE 1000 END, 'ids', jsonb_build_array(gen_random_uuid()))
  FROM act, generate_series(1, 3) n ORDER BY n RETURNING id, detail
) SELECT array_agg(id) AS ids, min(detail ->> 'act') AS act FROM done
""")


def test_an_act_of_many_steps_is_one_line_with_what_all_came_to(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            async with site.app.state.console.engine.connect() as connection:
                (made,) = (await connection.execute(STEPS)).all()
                kept = text("UPDATE acts SET operations = :ids WHERE id = CAST(:act AS uuid)")
                await connection.execute(kept, {"ids": made.ids, "act": made.act})
            answer = await jeanne.get("/operations?act=discard")
            assert answer.text.count("spoilt") == 1 and f'href="/act/{made.act}"' in answer.text
            assert "orders 2345 steps 3" in text_of(answer)
            assert [row in answer.text for row in (f"/operations/{each}" for each in sorted(made.ids))] == [0, 0, 1]
            one = text_of(await jeanne.get(f"/operations/{min(made.ids)}"))
            assert "orders 1000" in one, "each step stays in the record"

    asyncio.run(work())
