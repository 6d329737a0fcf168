"""Answers: what each means, and that none is lost, believed twice, or read before it is whole."""

import asyncio
import os
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from tests.workers.erp.files.conftest import EDIFACT, Exchange, an_edi_order, ordrsp
from workers.erp.files import reading
from workers.erp.files.names import control_of
from workers.erp.port import Evidence, Kind


def contrl(order_id: object, action: str = "7", error: str = "", more: str = "") -> str:
    control = control_of(order_id)  # type: ignore[arg-type]
    body = f"UCI+{control}+RELAIS+ERP+7'UCM+1+ORDERS:D:96A:UN+{action}{error}'{more}"
    return f"UNB+UNOC:3+ERP+RELAIS+261130:0930+5'UNH+1+CONTRL:D:3:UN'{body}UNT+{body.count(chr(39)) + 2}+1'UNZ+1+5'"


def test_only_the_erp_itself_delivers_an_order(exchange: Exchange) -> None:
    order = an_edi_order(2, 5)
    assert exchange.submit(order)[0].kind is Kind.PENDING
    (file,) = exchange.names("orders")
    assert "waits to be taken away" in exchange.poll(order)[0].detail
    (exchange.base / "orders" / file).unlink()
    assert "was taken away" in exchange.poll(order)[0].detail
    exchange.answer(contrl(order.id))
    told = exchange.poll(order)[0]
    assert (told.kind, told.detail) == (Kind.PENDING, "acknowledged, not decided: the syntax is acknowledged")
    exchange.answer(ordrsp(order))
    told = exchange.poll(order)[0]
    assert told.kind is Kind.ACCEPTED
    assert told.receipt is not None
    assert (told.receipt.reference, [each.accepted for each in told.receipt.lines]) == ("V-1", [2, 5])
    assert exchange.names("answers") == []
    assert len(exchange.names("relais/archive")) == 2
    assert exchange.submit(order)[0].kind is Kind.DUPLICATE
    assert exchange.names("orders") == []


@pytest.mark.parametrize(
    ("lines", "accepted", "reason"),
    [
        ("LIN+1+5'LIN+2+5'", [4, 6], None),
        ("LIN+1+5+34009:EN'QTY+21:4'PIA+1+3400937318044:EN'LIN+2+7'FTX+AAO+++out of stock'", [4, 0], "out of stock"),
        ("LIN+1+3'QTY+21:4'QTY+113:1'LIN+2+6'QTY+21:5'", [1, 5], None),
        ("LIN+1'QTY+113:2.0'QTY+83:2'LIN+2'QTY+113:0'FTX+AAO+++it?'s gone ?+ out?:of stock?? '", [2, 0], "it's gone"),
        ("LIN+2+5+A-2:SA'LIN+1+2'", [0, 6], None),
        ("LIN+++A-2:SA'QTY+113:6'LIN+++3400937318044:EN'QTY+113:3'", [3, 6], None),
    ],
)
def test_each_line_says_how_many_come(exchange: Exchange, lines: str, accepted: list[int], reason: str | None) -> None:
    order = an_edi_order(4, 6)
    exchange.submit(order)
    exchange.answer(ordrsp(order, "9+AC", lines))
    told = exchange.poll(order)[0]
    assert told.kind is Kind.ACCEPTED, exchange.aside()
    assert told.receipt is not None
    assert [each.accepted for each in told.receipt.lines] == accepted
    assert [each.product for each in told.receipt.lines] == ["3400937318044", "3400938615470"]
    assert (told.receipt.lines[1].reason or "").startswith(reason or "")


@pytest.mark.parametrize(
    ("line", "accepted", "later", "expected"),
    [
        ("LIN+1+3'QTY+113:1'QTY+83:2'DTM+67:20261203:102'", 1, 2, date(2026, 12, 3)),
        ("LIN+1'QTY+21:4'QTY+12:1'QTY+83:3'DTM+2:20261201:102'DTM+69:202612031200:203'", 1, 3, date(2026, 12, 3)),
        ("LIN+1+5'QTY+21:4'QTY+83:3'DTM+17:261203:101'", 1, 3, date(2026, 12, 3)),
        ("LIN+1+24'QTY+83:4'DTM+506:20261201-20261203:718'", 0, 4, date(2026, 12, 3)),
        ("LIN+1+5'QTY+83:1'DTM+69:soon:102'DTM+76:20261203:102'", 3, 1, date(2026, 12, 3)),
        ("LIN+1+6'QTY+83:1'DTM+11:20261203:102'", 3, 1, None),
        ("LIN+1+5'DTM+67:20261203:102'", 4, 0, None),
        ("LIN+1+7'QTY+83:1'DTM+67:20261203:102'", 0, 0, None),
    ],
)
def test_what_comes_later_is_told_of_its_line(
    exchange: Exchange, line: str, accepted: int, later: int, expected: date | None
) -> None:
    order = an_edi_order(4, 6)
    exchange.submit(order)
    exchange.answer(ordrsp(order, "9+AC", f"{line}LIN+2+5'"))
    told = exchange.poll(order)[0]
    assert told.receipt is not None, exchange.aside()
    first, second = told.receipt.lines
    assert (first.accepted, first.back_ordered, first.expected) == (accepted, later, expected)
    assert (second.accepted, second.back_ordered, second.expected) == (6, 0, None)


def test_a_quantity_that_comes_later_is_read_by_the_qualifier_that_the_settings_name(exchange: Exchange) -> None:
    for qualifier, later in (("73", 2), ("", 0)):
        exchange.says(EDIFACT + f'back_ordered = "{qualifier}"\n')
        order = an_edi_order(4)
        exchange.submit(order)
        exchange.answer(ordrsp(order, "9+AC", "LIN+1+3'QTY+113:1'QTY+73:2'QTY+83:1'"))
        receipt = exchange.poll(order)[0].receipt
        assert receipt is not None, exchange.aside()
        assert (receipt.lines[0].accepted, receipt.lines[0].back_ordered) == (1, later)


@pytest.mark.parametrize(
    ("lines", "substitute", "accepted", "reason"),
    [
        ("LIN+1+3+A-1:SA'PIA+3+A-9:SA'QTY+113:2'LIN+2+5'", "A-9", 2, None),
        ("LIN+1+3+A-1:SA'PIA+1+3400937318044:EN'PIA+3+A-9:SA+3400930000007:EN'LIN+2+5'", "3400930000007", 4, None),
        ("LIN+1+6+A-9:SA'PIA+4+A-1:SA'QTY+12:3'LIN+2+5'", "A-9", 3, None),
        ("LIN+1+6'PIA+5+A-9:SA'PIA+4+3400937318044:EN'QTY+12:3'LIN+2+5'", "A-9", 3, None),
        ("LIN+1+5+A-1:SA'PIA+2+A-9:SA'PIA+6+A-8:SA'LIN+2+5'", None, 4, None),
        ("LIN+1+3+A-1:SA'PIA+3+A-1:SA'LIN+2+5'", None, 4, None),
        ("LIN+1+5+A-9:SA'LIN+2+5'", "A-9", 4, None),
        (
            "LIN+1+7+A-1:SA'FTX+AAO+++withdrawn'LIN+2+5'LIN+3+1+A-9:SA'PIA+4+A-1:SA'QTY+21:4'",
            "A-9",
            4,
            "withdrawn",
        ),
        ("LIN+3+1+A-9:SA'PIA+4+3400937318044:EN'QTY+113:1'LIN+1+2'LIN+2+5'", "A-9", 1, None),
    ],
)
def test_what_is_in_a_product_s_place_is_told_of_its_line(
    exchange: Exchange, lines: str, substitute: str | None, accepted: int, reason: str | None
) -> None:
    exchange.says(EDIFACT + 'articles = "mapped"\n')
    order = an_edi_order(4, 6)
    exchange.submit(order)
    exchange.answer(ordrsp(order, "9+AC", lines))
    told = exchange.poll(order)[0]
    assert told.receipt is not None, exchange.aside()
    first, second = told.receipt.lines
    assert (first.product, first.substitute) == ("3400937318044", substitute)
    assert (first.accepted, first.reason) == (accepted, reason)
    assert (second.accepted, second.substitute) == (6, None)


def test_numbers_and_separators_are_those_that_una_says(exchange: Exchange) -> None:
    order = an_edi_order(4)
    exchange.submit(order)
    text = ordrsp(order, "9+AC", "LIN+1'QTY+113:3.0'FTX+AAO+++a'")
    swapped = text.translate(str.maketrans("+:'.", "|^~,"))
    exchange.answer("UNA^|,\\ ~\r\n" + swapped.replace("~", "~\r\n"))
    told = exchange.poll(order)[0]
    assert told.receipt is not None, exchange.aside()
    assert told.receipt.lines[0].accepted == 3


@pytest.mark.parametrize("bgm", ["9+RE", "27"])
def test_a_whole_order_is_refused_in_the_erps_words(exchange: Exchange, bgm: str) -> None:
    order = an_edi_order(1)
    exchange.submit(order)
    exchange.answer(ordrsp(order, bgm, "FTX+AAI+++client bloqué'"))
    told = exchange.poll(order)[0]
    assert (told.kind, told.detail) == (Kind.REFUSED, "the ERP refuses the order: client bloqué")


def test_a_syntax_error_refuses_and_a_duplicate_does_not(exchange: Exchange) -> None:
    first, second = an_edi_order(1), an_edi_order(1)
    exchange.submit(first, second)
    exchange.answer(contrl(first.id, "4", "+12", "UCS+6+13'"), "1.edi")
    exchange.answer(contrl(second.id).replace("+7'UCM+1+ORDERS:D:96A:UN+7'UNT+4", "+4+26'UNT+3"), "2.edi")
    told = exchange.poll(first, second)
    assert (told[0].kind, told[1].kind) == (Kind.REFUSED, Kind.PENDING), exchange.aside()
    assert "UCM error 12, UCS error 13 in segment 6" in told[0].detail
    exchange.answer(ordrsp(second))
    assert exchange.poll(second)[0].kind is Kind.ACCEPTED


def test_an_answer_twice_is_one_and_another_one_is_set_aside(exchange: Exchange) -> None:
    order = an_edi_order(3)
    exchange.submit(order)
    exchange.answer(ordrsp(order))
    first = exchange.poll(order)[0].receipt
    exchange.answer(ordrsp(order))
    assert exchange.poll(order)[0].receipt == first
    assert exchange.aside() == ""
    exchange.answer(ordrsp(order, "9+RE"))
    assert exchange.poll(order)[0].receipt == first
    assert "was answered before, otherwise" in exchange.aside()


def test_an_answer_to_an_order_that_was_never_sent_is_evidence(exchange: Exchange) -> None:
    order, never = an_edi_order(3), uuid4()
    exchange.submit(order)
    exchange.answer(ordrsp(never))
    told = exchange.poll(order)[0]
    assert (told.kind, told.evidence) == (Kind.SUSPICIOUS, Evidence.UNSENT_ORDER)
    assert str(never) in told.detail
    assert "was never sent" in exchange.aside()
    assert exchange.poll(order)[0].kind is Kind.PENDING  # it is told once


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"\x00\xff\xfe garbage", "does not begin with UNA or UNB"),
        (b"PK\x03\x04" + os.urandom(500), "does not begin with UNA or UNB"),
        (b"x" * 5000, "has over 4000 bytes"),
        (b"UNB+UNOC:3+ERP+RELAIS+261130:0930+77'UNH+1+ORDRSP:D:96A:UN'UNT+9+1'UNZ+1+77'", "UNT counts 9 of 1"),
        (b"UNB+UNOC:3+ERP+RELAIS+261130:0930+77'UNZ+1+77'", "UNZ counts 1 of 77"),
        (b"UNB+UNOC:3+ERP+RELAIS+261130:0930+77'BGM+231'UNZ+0+77'", "BGM stands outside a message"),
        (b"UNB+UNOC:3+A+B+261130:0930+77'UNH+1+INVOIC:D:96A:UN'UNT+2+1'UNZ+1+77'", "neither CONTRL nor ORDRSP"),
        (b"UNB+UNOY:4+A+B+261130:0930+77'UNH+1+\xff'UNT+2+1'UNZ+1+77'", "is none of UNOY"),
    ],
)
def test_what_cannot_be_read_is_set_aside_whole_with_its_reason(exchange: Exchange, answer: bytes, why: str) -> None:
    exchange.says("most_bytes = 4000\n" + EDIFACT)
    order = an_edi_order(3)
    exchange.submit(order)
    exchange.answer(answer, "../strange name;$(x).edi".rpartition("/")[2])
    assert exchange.poll(order)[0].kind is Kind.PENDING
    assert why in exchange.aside()
    (kept,) = [each for each in (exchange.base / "relais" / "aside").iterdir() if "reason" not in each.name]
    assert kept.read_bytes() == answer
    assert exchange.names("answers") == []


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("LIN+1+5'", "nothing is said of line 2"),
        ("LIN+1+5'LIN+2+5'LIN+3+5'", "has no line 3"),
        ("LIN+1+5'LIN+1+5'", "line 1 is answered twice"),
        ("LIN+1+5'LIN+2+6'", "line 2 is amended, and no quantity is told"),
        ("LIN+1+5'LIN+2'QTY+113:1.5'", "line 2: '1.5' is no number of boxes"),
        ("LIN+1+5'LIN+2+99'", "action '99' of LIN is none that is known"),
        ("LIN+1+5'LIN+2+5'LIN+3+1+A-9:SA'PIA+4+3400937318044:EN'", "line 1 is answered twice"),
        ("LIN+1+7'LIN+2+5'LIN+3+1+A-9:SA'", "has no product A-9"),
    ],
)
def test_an_answer_that_does_not_fit_its_order_decides_nothing(exchange: Exchange, lines: str, why: str) -> None:
    order, other = an_edi_order(4, 6), an_edi_order(1)
    exchange.submit(order, other)
    exchange.answer(ordrsp(order, "9+AC", lines) + ordrsp(other))
    told = exchange.poll(order, other)
    assert told[0].kind is Kind.PENDING
    assert why in exchange.aside()


def test_a_file_that_is_still_written_is_left_alone(exchange: Exchange) -> None:
    exchange.says(EDIFACT.replace("steady = 0", "steady = 30"))
    order = an_edi_order(4)
    exchange.submit(order)
    whole = ordrsp(order)
    for name in (".hidden.edi", "answer.edi.tmp", "answer.edi.part", "answer.FILEPART"):
        exchange.answer(whole, name, age=100)
    exchange.answer(whole[:60], "young.edi")  # written to a moment ago
    half = exchange.answer(whole[:60], "half.edi", age=100)  # the ERP pauses
    assert exchange.poll(order)[0].kind is Kind.PENDING
    assert half.exists() is False  # it lies where its writer still reaches it, and is read when it is whole
    assert exchange.names("answers") == [
        ".hidden.edi",
        "answer.FILEPART",
        "answer.edi.part",
        "answer.edi.tmp",
        "young.edi",
    ]
    (taken,) = (exchange.base / "relais" / "read").iterdir()
    with taken.open("a") as writer:
        writer.write(whole[60:])
    then = datetime.now(UTC) - timedelta(seconds=60)
    os.utime(taken, (then.timestamp(), then.timestamp()))
    assert exchange.poll(order)[0].kind is Kind.ACCEPTED
    assert exchange.aside() == ""


def test_one_that_is_never_finished_is_set_aside_in_the_end(exchange: Exchange) -> None:
    order = an_edi_order(4)
    exchange.submit(order)
    exchange.answer(ordrsp(order)[:60], age=601)
    assert exchange.poll(order)[0].kind is Kind.PENDING
    assert "breaks off" in exchange.aside()


def test_an_answer_outlives_whoever_dies_at_any_step(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step fails once, as a killed worker leaves it; another one goes on from there."""
    order = an_edi_order(4)
    exchange.submit(order)
    exchange.answer(ordrsp(order))
    steps = 0
    while steps < 40:
        erp, left = exchange.erp(), steps
        for name in ("write", "move", "publish", "make", "sync", "remove"):
            work = getattr(erp._place, name)

            async def dying(*words: object, work: object = work) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return await work(*words)  # type: ignore[operator]

            monkeypatch.setattr(erp._place, name, dying)
        try:
            asyncio.run(erp.poll([order.id], budget=30))
            break
        except KeyboardInterrupt:
            steps += 1
    assert steps > 5
    assert exchange.poll(order)[0].kind is Kind.ACCEPTED
    assert len(exchange.names("relais/archive")) == 1
    assert exchange.aside() == ""


def test_many_workers_read_one_directory(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAUSE", 0.0)
    orders = [an_edi_order(number + 1) for number in range(12)]

    async def race() -> list[dict[object, object]]:
        workers = [exchange.erp() for _ in range(4)]
        try:
            told = await asyncio.gather(*(each.submit(orders, budget=60) for each in workers))
            assert {outcome.kind for each in told for outcome in each.values()} == {Kind.PENDING}
            assert len(exchange.names("orders")) == len(orders)
            for number, order in enumerate(orders):
                exchange.answer(
                    ordrsp(order, number=f"V-{number}"), "same-name.edi" if number == 0 else f"{number}.edi"
                )
            return [*await asyncio.gather(*(each.poll([o.id for o in orders], budget=60) for each in workers))]
        finally:
            for each in workers:
                await each.close()

    asyncio.run(race())
    assert {each.kind for each in exchange.poll(*orders)} == {Kind.ACCEPTED}
    assert len(exchange.names("relais/archive")) == len(orders)
    assert exchange.aside() == ""
