"""Every page of the console that a link leads to, walked in both languages, light and dark, at a desk and on a phone,
with hundreds of orders of many pharmacies in it, some of them hostile: each is sound, each is kept as a screenshot.
"""

import asyncio
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import pytest

from config.embedded.leash import Leash
from tests.acceptance.console.acting import looking_at
from tests.acceptance.console.browsing import SEND, SHIFTS, SIZES, Browsers, Look, Visitor, in_chromium, outside
from tests.acceptance.running import Relais, sql, up
from tests.waiting import until
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900), *in_chromium]

ORDERS = 240
HOSTILE = '<script>alert("P")</script><img src=x onerror=alert(1)>'
NOWHERE = "/no-such-page"
DOORS = {"login": "/login", "first": "/first?name=jeanne&secret=once"}  # for who is not in yet
PAGES = 70  # different ones, at most
LEADS = """() => { document.querySelectorAll("form[method=get] [name=id][type=checkbox]").forEach((each, at) => {
  each.checked = at === 0; });
return [
  ...[...document.querySelectorAll("a[href^='/']:not([download])")].map(each => each.getAttribute("href")),
  ...[...document.querySelectorAll("form[method=get]")].filter(each => each.checkValidity()).map(each =>
    `${each.getAttribute("action")}?${new URLSearchParams([...new FormData(each)])}`),
]; }"""  # links, and forms that only ask, as they stand
UUID_OR_NUMBER = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/)-?\d+")
FILE = re.compile(r"\.(pdf|html|json|csv)$")
LOOKS = [  # each language and each theme in each size; axe once a theme, for it finds the same in the other size
    (Look("fr", "light", "desktop"), True),
    (Look("fr", "light", "phone"), False),
    (Look("en", "dark", "desktop"), False),
    (Look("en", "dark", "phone"), True),
]


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    """A stack in the middle of an incident."""
    with up(leash, RELAIS_CONSOLE_IDLE="36000", RELAIS_FOUR_EYES="true") as relais:
        incident(relais)
        yield relais


@pytest.fixture(scope="module")
def browsers(relais: Relais) -> Iterator[Browsers]:
    with looking_at(relais) as browsers:
        yield browsers


def incident(relais: Relais) -> None:
    """Orders delivered, refused, short and waiting; an ERP that is down, and in quarantine with a reason."""
    relais.dial(latency_ms=20, shortage_rate=0.2, refuse_rate=0.06)
    orders = relais.orders(ORDERS)
    for number, order in enumerate(orders):
        order["pharmacy"] = f"P{number % 12:04}"
        order["note"] = HOSTILE if number % 10 == 0 else "Livrer avant midi, pour Mme Durand"
    outside(lambda: asyncio.run(relais.hand_over(orders)))
    until(lambda: relais.states()["delivered"] + relais.states()["dead"] == ORDERS, 60, 0.2, "all are final")
    relais.dial(down=True)
    relais.submit(80, note=HOSTILE)
    until(lambda: relais.circuit() == "open", 30, 0.2, "the circuit is open")
    relais.tell("quarantine", "erp", "--because", f"Chiffré ? {HOSTILE}", operator="marc")


def walked(visitor: Visitor) -> dict[str, str]:
    """Every page that links lead to from the overview: one path for each kind of page."""
    found, waiting = {"/": "/"}, ["/", NOWHERE]
    while waiting and len(found) < PAGES:
        path = waiting.pop(0)
        visitor.go(path)
        if visitor.status == 422:  # a form that asks for more than it holds at first
            del found[kind_of(path)]
            continue
        for link in visitor.page.evaluate(LEADS):
            if not FILE.search(urlsplit(link).path) and (kind := kind_of(link)) not in found:
                found[kind] = link.partition("#")[0]
                waiting.append(found[kind])
    return {**found, NOWHERE: NOWHERE}


def kind_of(link: str) -> str:
    """What kind of page it is: whatever names one thing of many is left out."""
    parts = urlsplit(link)
    path = UUID_OR_NUMBER.sub("#", re.sub(r"^/pharmacy/[^/]+", "/pharmacy/#", parts.path))
    return path + "?" * bool(parts.query) + "&".join(sorted({name for name, _ in parse_qsl(parts.query)}))


@pytest.fixture(scope="module")
def paths(browsers: Browsers) -> dict[str, str]:
    """All pages there are."""
    with browsers.someone("jeanne", Role.APPROVER) as jeanne:
        jeanne.expected = (404, 422)
        return walked(jeanne)


def test_the_walk_comes_by_every_room(paths: dict[str, str]) -> None:
    kinds = set(paths)
    for room in (
        "/",
        "/account",
        "/acts",
        "/dead/#",
        "/order/#",
        "/pharmacy/#",
        "/operations/#",
        "/orders",
        "/recovery",
        "/report",
        "/search",
        "/backend/erp",
        "/acts/pause",
        "/acts/release-propose",
        "/acts/replay-start",
        "/acts/drain",
        "/acts/dead-replay",
        "/acts/dead-discard",
    ):
        assert any(kind.startswith(room) for kind in kinds), (room, sorted(kinds))


@pytest.mark.parametrize(("look", "axe"), LOOKS, ids=str)
def test_every_page_is_sound(browsers: Browsers, paths: dict[str, str], look: Look, axe: bool) -> None:
    wrong = []
    with browsers.someone("jeanne", Role.APPROVER, look) as jeanne:
        jeanne.expected = (404,)
        for kind, path in paths.items():
            jeanne.go(path)
            wrong += jeanne.unsound(name_of(kind), axe=axe)
            wrong += [f"{path}: {each}" for each in (jeanne.english() if look.language == "fr" else ())]
            if (jeanne.status == 404) != (path == NOWHERE) or jeanne.status not in (200, 404):
                wrong.append(f"{path} was answered {jeanne.status}")
    with browsers.stranger(look) as stranger:
        for door, path in DOORS.items():
            stranger.go(path)
            wrong += stranger.unsound(door, axe=axe)
            wrong += [f"{path}: {each}" for each in (stranger.english() if look.language == "fr" else ())]
            wrong += [] if stranger.status == 200 else [f"{path} was answered {stranger.status}"]
    assert not wrong, "\n".join(wrong)


def name_of(kind: str) -> str:
    """A page's name in the name of its screenshot."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "overview"


STOPS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
REACHABLE = """stops => { let found = 0;
  for (const each of document.querySelectorAll(stops)) if (each.checkVisibility()) each.dataset.number = ++found;
  return found; }"""
FOCUSED = """() => { const each = document.activeElement;
  if (each === document.body) return "body";
  return getComputedStyle(each).outlineStyle === "none" ? "unseen" : each.dataset.number ?? "another"; }"""


def comes_everywhere(visitor: Visitor, path: str) -> None:
    """Press Tab until all that can be used was reached, and was seen to be."""
    visitor.go(path)
    wanted, reached = visitor.page.evaluate(REACHABLE, STOPS), set()
    for _ in range(wanted + 20):
        visitor.page.keyboard.press("Tab")
        reached.add(visitor.page.evaluate(FOCUSED))
    assert "unseen" not in reached, path
    missed = {str(each + 1) for each in range(wanted)} - reached
    assert not missed, (path, [visitor.page.locator(f"[data-number='{each}']").inner_html() for each in missed])


@pytest.mark.parametrize(("look", "screens"), [(Look(size="wide"), 1), (Look(size="phone"), 2)], ids=str)
def test_what_to_do_is_on_the_first_screen_on_a_phone_on_the_second(
    browsers: Browsers, look: Look, screens: int
) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, look) as jeanne:
        jeanne.go("/")
        ends = {name: jeanne.end_of(name) for name in ("#now", ".backend .why", ".backend .buttons")}
        assert max(ends.values()) <= screens * SIZES[look.size][1], ends
        assert ends["#now"] <= SIZES[look.size][1], "the headline is on the first"
        jeanne.go("/acts/pause?backend=erp")
        assert jeanne.end_of("main form .buttons") <= screens * SIZES[look.size][1]
        assert jeanne.page.evaluate("document.activeElement.id") == "because"


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_what_is_live_does_not_move_the_page(relais: Relais, browsers: Browsers, size: str) -> None:
    """Nor does it stay as it was where its first connection fails, or where one of its scripts comes late."""
    with browsers.someone("jeanne", Role.VIEWER, Look("fr", "light", size)) as jeanne:
        jeanne.expected = (503,)
        asked: list[str] = []
        jeanne.page.on("request", lambda request: asked.append(request.url))
        jeanne.page.route("**/hx-sse*", lambda route: (jeanne.page.wait_for_timeout(500), route.continue_()))
        jeanne.page.route("**/live/overview", lambda route: route.fulfill(status=503), times=1)
        jeanne.go("/")
        jeanne.page.locator("#chart-flow canvas").wait_for()
        outside(lambda: relais.submit(20))
        moved, what = jeanne.shifts(6_000, "#figures")
        assert sum(each.endswith("/live/overview") for each in asked) == 2
        assert moved <= 0.02, what
        assert jeanne.faults == []


def test_one_box_chooses_all_orders_of_a_group(browsers: Browsers, paths: dict[str, str]) -> None:
    with browsers.someone("jeanne", Role.OPERATOR) as jeanne:
        page = jeanne.go(next(path for kind, path in paths.items() if kind == "/dead/#"))
        boxes, every = page.locator("[name=id][type=checkbox]"), page.locator("label[data-all] input")
        for chosen in (True, False):
            every.set_checked(chosen)
            assert [boxes.nth(each).is_checked() for each in range(boxes.count())] == [chosen] * boxes.count() != []


def test_the_keyboard_comes_everywhere_and_is_seen(browsers: Browsers, paths: dict[str, str]) -> None:
    group = next(each for each in paths if each.startswith("/dead/#"))
    with browsers.someone("jeanne", Role.APPROVER) as jeanne:
        for live in ("**/live/**", "**/standing"):  # what is updated meanwhile has lost its number
            jeanne.page.route(live, lambda route: route.abort())
        for kind in ("/", "/recovery", "/report", "/search", "/orders", group):
            comes_everywhere(jeanne, paths[kind])
        jeanne.go("/").keyboard.press("Tab")
        jeanne.page.keyboard.press("Enter")
        assert jeanne.page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize(("door", "first"), [("login", "name"), ("first", "new")])
def test_a_door_is_opened_by_the_keyboard_and_does_not_move(browsers: Browsers, door: str, first: str) -> None:
    with browsers.stranger(Look(size="phone")) as stranger:
        stranger.page.add_init_script(f"({SHIFTS})()")
        stranger.go(DOORS[door]).wait_for_timeout(1_000)
        assert stranger.page.evaluate("document.activeElement.id") == first, "one can type at once"
        assert sum(value for value, _ in stranger.page.evaluate("window.shifted")) <= 0.02
        comes_everywhere(stranger, DOORS[door])
        assert stranger.faults == []


def test_of_two_who_do_the_same_at_once_one_is_told(relais: Relais, browsers: Browsers) -> None:
    with browsers.someone("jeanne", Role.OPERATOR) as jeanne, browsers.someone("karim", Role.APPROVER) as karim:
        for visitor in (jeanne, karim):
            visitor.expected = (409,)
            visitor.go("/acts/pause?backend=erp").locator("#because").fill("Pour voir")
        jeanne.page.locator(SEND).click()
        jeanne.page.wait_for_url("**/act/*")
        karim.page.locator(SEND).click()
        karim.says("jeanne", "main")
        karim.sound("two-told")
    assert who_did(relais, "pause") == ["jeanne"]


def test_without_scripts_one_can_look_and_act(relais: Relais, browsers: Browsers) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, java_script_enabled=False) as jeanne:
        for path in ("/", "/dead", "/search", "/recovery", "/operations"):
            jeanne.go(path)
            assert jeanne.page.locator("h1").count() == 1
        jeanne.go("/acts/rate?backend=erp&rate=50")
        jeanne.page.locator("#because").fill("Sans script")
        jeanne.page.locator(SEND).click()
        assert "/act/" in jeanne.page.url
    assert who_did(relais, "rate") == ["jeanne"]
    with browsers.stranger(java_script_enabled=False) as stranger:
        stranger.go("/")
        assert "/login" in stranger.page.url
        assert stranger.page.locator("#password").count() == 1


def who_did(relais: Relais, act: str) -> list[str]:
    """Whose operations of that kind the journal holds."""
    rows = outside(lambda: sql(relais, f"SELECT operator FROM operations WHERE act = '{act}' ORDER BY id"))
    return [operator for (operator,) in rows]
