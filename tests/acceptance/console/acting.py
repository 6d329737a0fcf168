"""What people do at the console's pages in a story, and how what they see is held against the journal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from playwright.sync_api import Locator

from tests.acceptance.console.browsing import Browsers, Visitor, chromium, outside
from tests.acceptance.running import Relais, sql
from tests.waiting import until

PATIENCE: Final = 60  # seconds until a page tells what the journal says, on a machine that does other things
CALM: Final = r"^(All is well: orders flow to every backend|Tout va bien\s: les commandes partent vers chaque ERP)$"
SEND: Final = "main form[method=post] button[type=submit]"


class Figures(NamedTuple):
    """The counts at the head of the overview."""

    backlog: int
    dead: int
    delivered: int


@contextmanager
def looking_at(relais: Relais) -> Iterator[Browsers]:
    """Browsers on this Relais's console."""
    with chromium() as found:
        yield Browsers(found, relais.endpoints["console_url"], relais.endpoints["owner_url"])


def confirmed(visitor: Visitor, reason: str, *, name: str = "", clicks: int = 1) -> None:
    """On the page of an act: see what it touches, give a reason, do it, and wait until it is done."""
    page = visitor.page
    page.locator("#because").fill(reason)
    if page.locator("#confirm").count():
        said = re.search(r"(\S+)\s+(pour confirmer|to confirm)", page.locator("label[for=confirm]").inner_text())
        assert said is not None
        page.locator("#confirm").fill(said[1])
    if name:
        visitor.sound(f"{name}-asked")
    page.locator(SEND).click(click_count=clicks)
    page.wait_for_url(re.compile(r"/act/|/recovery\?did="))
    page.locator("#progress .pill.good, main .notice.good").first.wait_for()
    if name:
        visitor.sound(f"{name}-done")


def leading(visitor: Visitor, kind: str) -> Locator:
    """What leads from this page to an act: a link, or the button of a form that only asks."""
    found = visitor.page.locator(f"main a[href^='/acts/{kind}?'], main form[action='/acts/{kind}'] button")
    return found.first


def operations(relais: Relais) -> Counter[str]:
    """How many operations of each kind the journal holds, but for the key and the accounts that are there first."""
    rows = outside(lambda: sql(relais, "SELECT act FROM operations WHERE act NOT IN ('key add', 'account add')"))
    return Counter(act for (act,) in rows)


def final(relais: Relais) -> int:
    """How many orders are delivered, or are dead letters."""
    states = relais.states()
    return states["delivered"] + states["dead"]


def headline(visitor: Visitor, pattern: str) -> str:
    """Wait until the first sentence of the overview is like that, without a reload; the sentence."""
    said = visitor.page.locator("#now .said")
    until(lambda: re.search(pattern, said.inner_text()), PATIENCE, 0.3, f"the headline {pattern!r}")
    return said.inner_text()


def figures(visitor: Visitor) -> Figures:
    """What the overview says; -1 where it says that it does not know."""
    told = visitor.page.locator("#figures dd.figure").all_inner_texts()
    numbers = [int(re.sub(r"\D", "", each) or "-1") for each in (told[2], told[4], told[5])]
    return Figures(*numbers)


def agreed(visitor: Visitor, relais: Relais) -> Figures:
    """Wait until the overview says what the journal says, while nothing moves; what both say."""
    states: dict[str, int] = outside(relais.states)
    dead, delivered, whole = states["dead"], states["delivered"], sum(states.values())
    gone = sum(states.get(each, 0) for each in ("cancelled", "discarded"))
    wanted = Figures(whole - dead - delivered - gone, dead, delivered)
    until(lambda: figures(visitor) == wanted, PATIENCE, 0.3, f"the overview says {wanted}")
    return wanted


def row(relais: Relais, statement: str) -> dict[str, Any]:
    """The only row of a statement."""
    (found,) = outside(lambda: sql(relais, statement))
    return dict(found._mapping)


def told_of(visitor: Visitor, section: str) -> list[str]:
    """What the page's section of that id tells: a number or a word for each of its facts, without separators."""
    shown = visitor.page.locator(f"section[aria-labelledby='{section}'] dd").all_inner_texts()
    return [re.sub(r"(?<=\d)[\s\u202f,](?=\d)", "", each.strip()) for each in shown]


def reported(visitor: Visitor, reason: str, name: str) -> list[int]:
    """Make a report of all there is and look at it; its counts of the span: accepted, delivered, …, largest backlog."""
    visitor.go("/report").locator("main form[action='/acts/report'] button").click()
    confirmed(visitor, reason, name=f"{name}-report")
    visitor.page.locator("main a[href^='/report/']").first.click()
    visitor.sound(f"{name}-reported")
    return [int(each) for each in told_of(visitor, "in-span")]
