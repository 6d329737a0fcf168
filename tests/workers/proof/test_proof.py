"""The audit's arithmetic by time, the receipts' signatures, the report, and what `admin seal` and `status` say."""

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from config.settings import Settings
from orders.audit_codes import AuditCode
from tests.bench import MEDICINE, Bench, Scripted, always, with_bench
from tests.cli import CommandLine, environment
from tests.sealing import KEY, as_superuser, seal, some_life
from workers import operations
from workers.delivery.deliver import deliver
from workers.erp.port import Kind
from workers.proof.audit import audit, prove
from workers.proof.keys import keys_of
from workers.proof.report.incident import slice_width
from workers.proof.report.timeline import ceiling
from workers.trust import key_cache


@pytest.fixture
def sealing(settings: Settings) -> Settings:
    return settings.replace(seal_key=KEY, anchor=str(settings.files.data_dir / "anchors.ndjson"))


@pytest.fixture
def relais(sealing: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(sealing))


async def delivered(bench: Bench, count: int) -> list[Any]:
    ids = await bench.accept(count)
    await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
    return ids


def test_what_does_not_add_up_is_told_by_its_hour_with_the_ids(settings: Settings) -> None:
    async def work(bench: Bench) -> None:
        first, second = await delivered(bench, 2)
        await bench.accept(3)
        long_ago = datetime(2024, 10, 19, 14, 5, tzinfo=UTC)
        await as_superuser(
            bench,
            f"UPDATE orders SET received_at = '{long_ago}' WHERE id = '{first}'",
            f"DELETE FROM receipts WHERE order_id = '{first}'",
            f"DELETE FROM deliveries WHERE order_id = '{second}'",
        )
        books = (await prove(bench.by("audit"), settings, unit="hour")).books
        bad = [each for each in books.slices if not each.balanced]
        assert [each.wrong for each in bad] == [
            {AuditCode.UNRECEIPTED: 1},
            {AuditCode.NO_DELIVERY: 1},
        ]
        assert bad[0].since == datetime(2024, 10, 19, 14, tzinfo=UTC)
        assert books.ids == {AuditCode.UNRECEIPTED: [first], AuditCode.NO_DELIVERY: [second]}
        assert (await prove(bench.by("audit"), settings)).books.unit == "day", "the journal is older than a week"
        ledger = await audit(bench.by("audit"))
        assert set(ledger.faults) == {
            "accepted 5 is not backlog 3 + final 1",
            "1 delivered order without a receipt",
            "1 order without a delivery",
        }

    with_bench(settings, work)


def test_an_order_that_was_sent_again_needs_a_receipt_of_that_delivery(settings: Settings) -> None:
    async def work(bench: Bench) -> None:
        ids = await delivered(bench, 1)
        again = "UPDATE deliveries SET state = 'accepted', settled_at = NULL, due_at = now()"
        await bench.sql(again)
        assert (await audit(bench.by("audit"))).balanced, "it waits again, and has the receipt of the first time"
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        assert (await bench.run(text("SELECT count(*) FROM receipts")))[0][0] == 2
        assert (await audit(bench.by("audit"))).balanced
        newest = "received_at = (SELECT max(received_at) FROM receipts)"
        await as_superuser(bench, f"DELETE FROM receipts WHERE order_id = '{ids[0]}' AND {newest}")
        assert (await audit(bench.by("audit"))).faults == ("1 delivered order without a receipt",)

    with_bench(settings, work)


def test_a_delivered_order_without_a_signed_receipt_is_a_fault_where_they_must_be_signed(settings: Settings) -> None:
    """What went before the backend signed is excused; what somebody writes into the journal after that is not."""
    required = settings.replace(receipts="require")

    async def work(bench: Bench) -> None:
        (early,) = await delivered(bench, 1)
        assert (await prove(bench.by("audit"), settings)).sound
        unsigned = "1 delivered order without a signed receipt"
        assert (await prove(bench.by("audit"), required)).faults == [unsigned], "no key was ever registered"
        await registered(bench, key_id="k1", public=bytes(32))
        assert (await prove(bench.by("audit"), required)).ledger.balanced, "it came before the key"
        (signed,) = await delivered(bench, 1)
        assert (await prove(bench.by("audit"), required)).ledger.faults == (unsigned,)
        await as_superuser(bench, f"UPDATE receipts SET key_id = 'k1' WHERE order_id = '{signed}'")
        (forged,) = await bench.accept(1)
        await bench.dispatch()
        settle = f"UPDATE deliveries SET state = '{{}}', settled_at = {{}} WHERE order_id = '{forged}'"
        await bench.sql(settle.format("delivering", "NULL"))
        await bench.sql(settle.format("delivered", "now()"))
        assert (await prove(bench.by("audit"), required)).books.ids == {AuditCode.UNRECEIPTED: [forged]}
        forge = "INSERT INTO receipts (order_id, lease, backend, reference, lines, received_at) "
        await bench.sql(f"{forge} VALUES ('{forged}', gen_random_uuid(), 'another', 'E1', '[]', now())")
        assert (await prove(bench.by("audit"), required)).books.ids == {AuditCode.UNRECEIPTED: [forged]}
        await bench.sql(f"{forge} VALUES ('{forged}', gen_random_uuid(), 'erp', 'E2', '[]', now())")
        assert (await prove(bench.by("audit"), required)).books.ids == {AuditCode.UNSIGNED: [forged]}
        assert early != forged

    with_bench(settings, work)


REGISTER_KEY = text("INSERT INTO receipt_keys (backend, key_id, public) VALUES ('erp', :key_id, :public)")


async def registered(bench: Bench, key_id: str, public: bytes) -> None:
    async with bench.owner.connect() as connection:
        await connection.execute(REGISTER_KEY, {"key_id": key_id, "public": public})


@pytest.mark.parametrize(
    ("tampered", "fault"),
    [
        (None, None),
        ("signature = overlay(signature placing 'AAAA' from 80)", "has no good signature"),
        ("signature = NULL", "has no good signature"),
        ("signature = 'no.jws'", "has no good signature"),
        ("key_id = 'k9'", "is said to be signed with the key k9, which is not registered"),
        ("key_id = 'k2'", "has no good signature"),
        ("reference = 'ERP-2'", "was signed with another reference"),
        ("lines = jsonb_set(lines, '{0,accepted}', '7')", "was signed with other lines"),
        ("lines = jsonb_set(lines, '{0,substitute}', '\"3400938615470\"')", "was signed with other lines"),
        ("lines = jsonb_set(lines, '{0,back_ordered}', '1')", "was signed with other lines"),
        ("lines = jsonb_set(lines, '{0,expected}', '\"2026-01-07\"')", "was signed with other lines"),
        ("order_id = other", "was signed for another order"),
    ],
)
def test_receipts_signatures_are_verified_again(settings: Settings, tampered: str | None, fault: str | None) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

    async def work(bench: Bench) -> None:
        (order,) = await delivered(bench, 1)
        (unsigned,) = await delivered(bench, 1)
        for key_id, private in (("k1", key), ("k2", other)):
            raw = private.public_key().public_bytes_raw()
            await registered(bench, key_id=key_id, public=raw)
        sent = "SELECT o.digest, r.reference FROM orders o JOIN receipts r ON r.order_id = o.id WHERE o.id = :id"
        digest, reference = (await bench.run(text(sent), id=order))[0]
        claims = {"order": str(order), "digest": digest.hex(), "reference": reference, "at": 1}
        claims["lines"] = [{"line": 1, "product": MEDICINE, "accepted": 1}]
        jws = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "k1"})
        await as_superuser(bench, f"UPDATE receipts SET signature = '{jws}', key_id = 'k1' WHERE order_id = '{order}'")
        if tampered is not None:
            change = tampered.replace("other", f"'{unsigned}'")
            await as_superuser(bench, f"UPDATE receipts SET {change} WHERE order_id = '{order}'")
        found = (await prove(bench.by("audit"), settings)).signatures
        assert (found.signed, found.wrong) == (1, int(fault is not None))
        if fault is not None:
            assert found.faults[0].endswith(fault)

    with_bench(settings, work)


def test_a_receipt_key_that_is_none_is_a_fault_and_stops_neither_audit_nor_worker(settings: Settings) -> None:
    async def work(bench: Bench) -> None:
        (order,) = await delivered(bench, 1)
        await registered(bench, key_id="k1", public=b"short")
        await as_superuser(bench, f"UPDATE receipts SET signature = 'a.b.c', key_id = 'k1' WHERE order_id = '{order}'")
        found = (await prove(bench.by("audit"), settings)).signatures
        assert found.faults == [
            "the receipt key k1 of erp is no Ed25519 key",
            f"the receipt of order {order} is said to be signed with the key k1, which is not registered",
        ]
        assert await key_cache.keys_of(bench.engine, "erp") == {}, "with it nothing is verified"

    with_bench(settings, work)


def test_seal_shows_its_keys_and_where_it_wrote(relais: CommandLine, sealing: Settings) -> None:
    with_bench(sealing, some_life)
    done = json.loads(relais("admin", "seal", "--json").out)
    assert (done["block"], done["rows"], done["anchored"], done["error"]) == (1, 16, 1, None)
    assert "nothing new to seal; anchored" in relais("admin", "seal").out
    (key,) = keys_of(KEY).values()
    assert json.loads(relais("admin", "seal", "--public-key", "--json").out) == [
        {"key_id": key.id, "algorithm": "Ed25519", "public_key": key.public.hex()}
    ]
    told = json.loads(relais("status", "--json").out)["seals"]
    assert (told["block"], told["unsealed"], told["key"]) == (1, 0, True)
    with_bench(sealing, some_life)
    nowhere = relais("admin", "seal", RELAIS_ANCHOR="/proc/none")
    assert (nowhere.code, "2: 16 rows sealed; the anchor has 0 blocks" in nowhere.out) == (1, True)
    shown = relais("status").out
    assert "2 blocks up to" in shown
    assert "/proc/none has 0" in shown
    assert relais("admin", "seal", "--acknowledge", "--because", "a trial").code == 0
    assert relais("audit").code == 0
    assert relais("audit", "--anchors", "/nowhere").code == 1


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onload", "onclick"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_of_figures_with_nothing_of_an_order_in_it(
    relais: CommandLine, sealing: Settings
) -> None:
    page = sealing.files.data_dir / "out.html"

    async def work(bench: Bench) -> None:
        await bench.accept(2, note="for Mme Durand <script>alert(1)</script>")
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        await bench.accept(1)
        await deliver(bench.resources(Scripted(always(Kind.REFUSED))), await bench.dispatch())
        await operations.pause(bench.by("ops"), sealing, "erp", "<script>alert('&')</script>")
        await bench.accept(3)
        await seal(bench)

    with_bench(sealing, work)
    done = relais("audit", "--report", str(page))
    assert (done.code, str(page) in done.err) == (0, True)
    written = page.read_text()
    found = Page(written)
    assert found.open == []
    assert {"svg", "style", "table"} <= set(found.tags)
    assert not {"script", "img", "link", "iframe"} & set(found.tags)
    assert "url(" not in written
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in written
    assert "Durand" not in written
    assert "6&nbsp;accepted = 3&nbsp;backlog + 2&nbsp;delivered + 1&nbsp;dead" in written
    assert "refused" in written
    assert "as it was sealed (1 block)" in written
    assert 'class="hold pause"' in written
    assert [path.name for path in sealing.files.data_dir.glob(".out*")] == []


def test_the_report_of_a_span_and_of_what_is_wrong(relais: CommandLine, sealing: Settings) -> None:
    page = sealing.files.data_dir / "out.html"
    with_bench(sealing, some_life)
    assert relais("admin", "seal").code == 0
    with_bench(sealing, lambda bench: as_superuser(bench, "DELETE FROM receipts"))
    done = relais("audit", "--report", str(page), "--since", "2024-10-19", "--until", "2024-10-20T12:00")
    written = page.read_text()
    assert (done.code, "block 1: 3 rows missing from receipts" in written) == (1, True)
    assert "From 19 Oct 2024 00:00:00 to 20 Oct 2024 12:00:00." in written
    assert relais("audit", "--since", "yesterday").code == 2
    assert relais("audit", "--report", "/nowhere/at/all.html").code == 2


def test_the_report_tells_of_evidence_and_of_reconciliations(relais: CommandLine, sealing: Settings) -> None:
    page = sealing.files.data_dir / "out.html"

    async def work(bench: Bench) -> None:
        order = uuid4()
        kept = "INSERT INTO evidence (backend, order_id, lease, kind, conclusive, detail, answer) VALUES "
        await bench.sql(f"{kept} ('erp', '{order}', '{uuid4()}', 'wrong_digest', true, 'secret words', 'secret bytes')")
        await bench.sql(f"{kept} ('erp', '{order}', '{uuid4()}', 'wrong_digest', true, 'secret words', 'secret bytes')")
        await bench.sql(
            """INSERT INTO reconciliations (backend, since, until, started_by, cursor_at, cursor_id, missing, resent)
            VALUES ('erp', now() - interval '2 days', now(), 'alice', now(), gen_random_uuid(), 4711, 4710)"""
        )

    with_bench(sealing, work)
    assert relais("audit", "--report", str(page)).code == 0
    written = page.read_text()
    (evidence,) = re.findall(r"<h2>Evidence against backends.*?</section>", written)
    assert re.findall(r"<td[^>]*>([^<]*)</td>", evidence)[:5] == [
        "erp",
        "a receipt for other bytes than were sent",
        "yes",
        "2",
        "1",
    ]
    (reconciled,) = re.findall(r"<h2>What the backends have.*?</section>", written)
    assert {"alice", "4,711", "4,710"} <= set(re.findall(r"<td[^>]*>([^<]*)</td>", reconciled))
    assert "secret" not in written, "what the backend answered is not in it"


def test_an_empty_journal_has_a_report_too(relais: CommandLine, sealing: Settings) -> None:
    page = sealing.files.data_dir / "out.html"
    assert relais("audit", "--report", str(page)).code == 0
    assert "0&nbsp;accepted = 0&nbsp;backlog" in page.read_text()


def test_slices_and_scales_are_round() -> None:
    begin = datetime(2024, 10, 19, tzinfo=UTC)
    for span in (timedelta(seconds=1), timedelta(hours=30), timedelta(days=400), timedelta(days=36_500)):
        width = slice_width(begin, begin + span)
        assert span.total_seconds() / width <= 120
    assert [ceiling(most) for most in (0, 1, 7, 12, 99, 20_875)] == [1, 1, 8, 20, 100, 30_000]


def test_a_long_audit_tells_how_far_it_is_and_reads_a_thousand_rows_at_a_time(sealing: Settings) -> None:
    seen: list[tuple[int, int]] = []

    async def work(bench: Bench) -> None:
        many = "SELECT 'o', 'load', '{}' FROM generate_series(1, 2500)"
        await bench.sql(f"INSERT INTO operations (operator, act, detail) {many}")
        await seal(bench)
        found = await prove(bench.by("audit"), sealing, watch=lambda done, total: seen.append((done, total)))
        assert found.faults == []

    with_bench(sealing, work)
    done = [each for each, _ in seen]
    assert done == [1000, 2000, 2500]
    assert all(total >= each for each, total in seen)
