"""Whatever an answer holds, it is read or said to be unreadable, and nothing else."""

import random
from uuid import UUID

import pytest

from tests.workers.erp.files.conftest import ordrsp
from workers.erp.files.edifact.answers import read_edifact
from workers.erp.files.pace import LONGEST, PendingPace
from workers.erp.files.tables.answers import read_table
from workers.erp.files.tables.template import AnswerTemplate
from workers.erp.files.verdicts import UnreadableAnswer
from workers.erp.port import Kind, Outcome

ORDER = UUID(int=7)
WHOLE = ordrsp(
    ORDER, "9+AC", "LIN+1+5++A:SA'PIA+3+B:EN'QTY+113:1'DTM+67:20261201:102'FTX+AAO+++a?'b:c'", una="UNA:+.? '"
)
TABLE = f"CDE;ETAT;LIG;QTE\r\n{ORDER.hex};OK;1;3\r\n{ORDER.hex};OK;2;0\r\n"
TEMPLATE = AnswerTemplate(order="CDE", status="ETAT", accepted=("OK",), line="LIG", quantity="QTE")


def mangled(text: str, dice: random.Random) -> bytes:
    data = bytearray(text.encode("latin-1"))
    for _ in range(dice.randint(1, 6)):
        place = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[place] = dice.randrange(256)
            case 1:
                del data[place : place + dice.randint(1, 30)]
            case 2:
                data[place:place] = dice.choice(
                    [b"'", b"+", b":", b"?", b"\0", b"UNA", b"UNB", b"UNZ+0+", b"\xff\xfe", b'"']
                )
            case _:
                data[place:place] = data[place : place + dice.randint(1, 30)]
        data = data or bytearray(b"'")
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_a_mangled_answer_is_read_or_unreadable(seed: int) -> None:
    dice, unreadable = random.Random(seed), 0
    for _ in range(150):
        for text in (WHOLE, TABLE):
            try:
                data = mangled(text, dice)
                read_edifact(data, "83") if text is WHOLE else read_table(data, TEMPLATE)
            except UnreadableAnswer:
                unreadable += 1
    assert 30 < unreadable < 300


def test_what_is_pending_for_long_is_looked_at_less_often() -> None:
    pace, pending = PendingPace(), Outcome(Kind.PENDING)
    for now in (0.0, 2.0):
        assert pace.lately(ORDER, now) is None
        pace.saw(ORDER, pending, now)
    assert pace.lately(ORDER, 2.1) is pending
    assert pace.lately(ORDER, 2.3) is None
    pace.saw(ORDER, pending, 3600.0)
    assert pace.lately(ORDER, 3600.0 + LONGEST - 1) is pending
    assert pace.lately(ORDER, 3600.0 + LONGEST) is None
    pace.saw(ORDER, pending, 4000.0)
    pace.forget({ORDER})
    assert pace.lately(ORDER, 4000.1) is None
