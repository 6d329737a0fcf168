"""Real browsers on a console: each somebody's own, in a language, a colour scheme and a size, and all that a page is
held to: no violation of WCAG 2.2 AA that axe finds, no script or style that the policy stops, nothing beside the
screen of a phone, a screenshot to look at.

Playwright's own event loop has the thread: whatever needs another one goes through `outside`.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, sync_playwright

from config.settings import Settings
from orders.errors import NotSo
from orders.journal import connect
from tests.machines.tools import ROOT
from tests.waiting import until
from tests.workers.console.test_french import english
from workers.console.access import accounts
from workers.console.access.people import Role
from workers.console.access.sessions import COOKIE, Sessions

T = TypeVar("T")

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
in_chromium = (
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: `make test-browser` gets it and runs these"),
)

SHOTS = ROOT / ".artifacts" / "console"
AXE = Path(__file__).with_name("axe.min.js").read_text()
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
RUN = """async tags => {
  const found = await axe.run(document, {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"]});
  return found.violations.flatMap(rule => rule.nodes.map(node =>
    `${rule.id}: ${node.html.slice(0, 300)} ${node.any.map(each => each.message)}`));
}"""
# What is to be read or heard, but for codes, names and what people typed.
TOLD = """() => {
  const own = each => !each.closest("script, style, code, .id, [data-typed]"), told = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (own(walk.currentNode.parentElement)) told.push(walk.currentNode.data);
  for (const name of ["aria-label", "title", "placeholder", "alt"])
    for (const each of document.querySelectorAll(`[${name}]`)) if (own(each)) told.push(each.getAttribute(name));
  return [document.title, ...told].map(each => each.replace(/[^\\S\u202f]+/g, " ").trim()).filter(Boolean); }"""
WIDTH = "document.scrollingElement.scrollWidth"
SHIFTS = """() => { window.shifted = []; new PerformanceObserver(list => { for (const entry of list.getEntries())
  if (!entry.hadRecentInput) window.shifted.push([entry.value,
    entry.sources.map(each => each.node && (each.node.id || each.node.className || each.node.nodeName))]);
}).observe({type: "layout-shift", buffered: true}); }"""
SIZES = {"desktop": (1280, 800), "wide": (1440, 900), "phone": (375, 812)}
MOST = 120_000  # milliseconds that anything may take, on a machine that does other things
SEND = "main form[method=post] button[type=submit]"  # what does an act, on its page


class Look(NamedTuple):
    """How somebody's browser is set."""

    language: str = "fr"
    scheme: str = "light"
    size: str = "desktop"

    def __str__(self) -> str:
        return "-".join(self)


USUAL = Look()


@dataclass
class Visitor:
    """Somebody at a browser; `faults` is whatever went wrong in it that no person would see."""

    page: Page
    base: str
    look: Look
    faults: list[str] = field(default_factory=list)
    expected: tuple[int, ...] = ()  # statuses that a page is meant to have
    status: int = 0  # that the last page opened by its path had

    def __post_init__(self) -> None:
        self.page.set_default_timeout(MOST)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"{self.page.url}: {error}"))
        self.page.on("response", self._answered)

    def go(self, path: str) -> Page:
        """Open a page of the console."""
        answer = self.page.goto(self.base + path)
        self.status = answer.status if answer else 0
        return self.page

    def sound(self, name: str, *, full: bool = True) -> None:
        """Hold the page against all that every page promises, and keep what it looks like."""
        assert self.unsound(name, full=full) == []

    def unsound(self, name: str, *, full: bool = True, axe: bool = True) -> list[str]:
        """What is wrong with the page, of which a screenshot is kept; without `axe` what costs little."""
        self.shot(name, full=full)
        wrong = [f"{name}: {each}" for each in [*(self.violations() if axe else ()), *self.faults]]
        self.faults.clear()
        if (heads := self.page.locator("h1").count()) != 1:
            wrong.append(f"{name} has {heads} h1")
        if (language := self.page.locator("html").get_attribute("lang")) != self.look.language:
            wrong.append(f"{name} is in {language}")
        if (width := self.page.evaluate(WIDTH)) > SIZES[self.look.size][0]:
            wrong.append(f"{name} is {width} wide: {self.widest()}")
        return wrong

    def shot(self, name: str, *, full: bool = True) -> None:
        """Keep what is to be seen."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}-{self.look}.png", full_page=full)

    def violations(self) -> list[str]:
        """What axe has to say against the page."""
        self.page.evaluate(AXE)
        found: list[str] = self.page.evaluate(RUN, list(TAGS))
        return found

    def english(self) -> list[str]:
        """What is English still of a page in French."""
        return [f"English: {each}" for each in english(self.page.evaluate(TOLD))]

    def widest(self) -> list[str]:
        """What sticks out on the right."""
        found: list[str] = self.page.evaluate(
            """width => [...document.querySelectorAll("body *")].filter(each => !each.closest(".scroll") &&
               each.getBoundingClientRect().right > width + 1).map(each => each.outerHTML.slice(0, 120))""",
            SIZES[self.look.size][0],
        )
        return found[:5]

    def end_of(self, place: str) -> float:
        """How far down the page the last of these ends, in CSS pixels."""
        boxes = [each.bounding_box() for each in self.page.locator(place).all()]
        return max(box["y"] + box["height"] for box in boxes if box is not None)

    def shifts(self, milliseconds: int, where: str) -> tuple[float, Any]:
        """By how much the layout moved by itself until something else is to be read there, and so long after it, and
        what did (CLS, web.dev/articles/cls).
        """
        before = self.page.locator(where).inner_text()
        self.page.evaluate(SHIFTS)
        self.page.evaluate("() => { window.shifted.length = 0; }")
        until(lambda: self.page.locator(where).inner_text() != before, MOST / 1000, 0.2, "the page is live")
        self.page.wait_for_timeout(milliseconds)
        moved: list[tuple[float, Any]] = self.page.evaluate("window.shifted")
        return sum(value for value, _ in moved), [what for _, what in moved]

    def says(self, pattern: str, where: str = "body") -> None:
        """Wait until it is to be read there, without a reload."""
        self.page.locator(where).filter(has_text=re.compile(pattern)).first.wait_for()

    def _heard(self, message: ConsoleMessage) -> None:
        status = re.search(r"status of (\d+)", message.text)
        wanted = status is not None and int(status[1]) in self.expected
        if message.type in ("error", "warning") and not wanted:
            self.faults.append(f"{self.page.url}: {message.text}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500 and response.status not in self.expected:
            self.faults.append(f"{response.url} was answered {response.status}")


class Browsers:
    """Browsers that look at one console."""

    def __init__(self, browser: Browser, base: str, database_url: str) -> None:
        self._browser, self.base, self._database_url = browser, base, database_url

    @contextmanager
    def stranger(self, look: Look = USUAL, **options: Any) -> Iterator[Visitor]:
        """A browser that nobody is logged in with."""
        width, height = SIZES[look.size]
        context = self._browser.new_context(
            locale={"fr": "fr-FR", "en": "en-GB"}[look.language],
            color_scheme=look.scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": height},
            has_touch=look.size == "phone",
            is_mobile=look.size == "phone",
            **options,
        )
        visitor = Visitor(context.new_page(), self.base, look)
        try:
            yield visitor
        except BaseException:
            visitor.shot("failed")
            raise
        finally:
            context.close()

    @contextmanager
    def someone(self, name: str, role: Role, look: Look = USUAL, **options: Any) -> Iterator[Visitor]:
        """A browser with a session of that account, which is made when there is none."""
        token = outside(lambda: asyncio.run(begin(self._database_url, name, role)))
        with self.stranger(look, **options) as visitor:
            cookie = {
                "name": COOKIE,
                "value": token,
                "url": self.base.replace("http:", "https:"),
                "secure": True,
                "httpOnly": True,
            }
            visitor.page.context.add_cookies([cookie])  # type: ignore[list-item]
            yield visitor


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        try:
            yield browser
        finally:
            browser.close()


def outside(work: Callable[[], T]) -> T:
    """Do it in another thread, where an event loop of its own may run."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


async def begin(database_url: str, name: str, role: Role) -> str:
    """A session's token of that account."""
    engine = connect(database_url)
    try:
        try:
            await accounts.add(engine, name, role, subject=f"https://id.test#{name}")
        except NotSo:
            with suppress(NotSo):
                await accounts.set_role(engine, name, role)
        return await Sessions(engine, Settings(database_url=database_url, _env_file=None)).begin(name)
    finally:
        await engine.dispose()
