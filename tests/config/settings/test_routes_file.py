"""The file of backends: what it gives each, and how its faults are told; and which way an order goes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from config.celeryconfig import InTurn
from config.redis_keys import NORMAL, NOTICES, URGENT, queue_of
from config.settings import Settings
from config.settings.routes_file import BadBackends, Route, Ways, load_backends, load_ways
from orders.intake.routing import open_routing, region, routing
from orders.model import Line, Order
from orders.rules.catalogue import NoList, Product, load_regions
from tests.machines.tools import ROOT

COLD, PLAIN = "3400937318044", "3400938615470"
TWO = """
default = "main"

[backends.fallback]
url = "http://127.0.0.1:2"

[backends.main]
url = "http://127.0.0.1:1"
token = "secret"
timeout = 3
window_max = 100
idempotent = false
"""


def settings_on(path: Path, content: str, **more: Any) -> Settings:
    (path / "backends.toml").write_text(content)
    return Settings(backends=path / "backends.toml", erp_url="http://env", erp_token="env", _env_file=None, **more)


def test_each_backend_has_settings_of_its_own_the_default_one_first(tmp_path: Path) -> None:
    found = load_backends(settings_on(tmp_path, TWO, erp_concurrency=7))
    assert [*found] == ["main", "fallback"]
    main, fallback = found.values()
    assert (main.erp.backend, main.erp.url, main.erp.timeout, main.delivery.window_max) == (
        "main",
        "http://127.0.0.1:1",
        3,
        100,
    )
    assert (main.erp.idempotent, main.erp.token and main.erp.token.get_secret_value()) == (False, "secret")
    assert (fallback.erp.backend, fallback.erp.timeout, fallback.erp.concurrency) == ("fallback", 10, 7)
    assert fallback.erp.token is None, "the token of one ERP is shown to no other"


def test_a_token_may_have_a_file_of_its_own_beside(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("kept apart\n")
    found = load_backends(settings_on(tmp_path, '[backends.erp]\nurl = "http://x"\ntoken_file = "token"'), tokens=True)
    token = found["erp"].erp.token
    assert token is not None
    assert token.get_secret_value() == "kept apart"


def test_who_does_not_call_the_erp_opens_no_file_of_a_token(tmp_path: Path) -> None:
    found = load_ways(settings_on(tmp_path, '[backends.erp]\nurl = "http://x"\ntoken_file = "not there"'))
    erp = found.backends["erp"].erp
    assert (erp.url, erp.token) == ("http://x", None)


def test_without_the_file_there_is_the_backend_of_the_environment(tmp_path: Path) -> None:
    alone = Settings(backend="only", _env_file=None)
    assert load_ways(alone) == Ways("only", {"only": alone})
    aging = settings_on(tmp_path, '[stale]\nurgent = "4h"\nnarcotic = "90m"')
    ways = load_ways(aging)
    assert ([*ways.backends.values()], ways.default) == ([aging], "erp")
    assert ways.stale == {"urgent": timedelta(hours=4), "narcotic": timedelta(minutes=90)}


@pytest.mark.parametrize(
    ("content", "table", "key", "why"),
    [
        ("[backends", "", "", "Expected"),
        ("backend = 1", "", "backend", "is not known"),
        ("backends = 1", "[backends]", "", "must be a table"),
        ("[backends.Main]\nurl = 'http://x'", "[backends.Main]", "", "named by"),
        ("[backends.a]\ntimeout = 1", "[backends.a]", "url", "base URL"),
        ("[backends.a]\nurl = 'x'\nwindow = 1", "[backends.a]", "window", "is not known"),
        ("[backends.a]\nurl = 'x'\nsim_port = 1", "[backends.a]", "sim_port", "is not known"),
        ("[backends.a]\nurl = 'x'\nconcurrency = 0", "[backends.a]", "concurrency", "greater than 0"),
        ("[backends.a]\nurl = 'x'\ntimeout = 40", "[backends.a]", "", "timeout must not exceed batch_budget"),
        ("[backends.a]\nurl = 'x'\ntoken_file = 'none'", "[backends.a]", "token_file", "cannot be read"),
        ("[backends.a]\nurl = 'x'\n[backends.b]\nurl = 'y'", "", "default", "a, b"),
        (TWO + "[[routes]]\nbackend = 'other'\nregion = ['13']", "[[routes]] 1", "backend", "main, fallback"),
        (TWO + "[[routes]]\nbackend = 'main'", "[[routes]] 1", "", "no condition"),
        (TWO + "[[routes]]\nbackend = 'main'\nregion = '13'", "[[routes]] 1", "region", "list"),
        (TWO + "[[routes]]\nbackend = 'main'\nregion = []", "[[routes]] 1", "region", "at least one"),
        (TWO + "[[routes]]\nbackend = 'main'\nclass = ['cold']", "[[routes]] 1", "class", "cold_chain"),
        (TWO + "[[routes]]\nbackend = 'main'\npriority = 'high'", "[[routes]] 1", "priority", "urgent"),
        (TWO + "[[routes]]\nbackend = 'main'\nproduct = ['x']", "[[routes]] 1", "product", "is not known"),
        ("[stale]\nurgent = 'soon'", "[stale]", "urgent", "a number and"),
        ("[stale]\nhigh = '4h'", "[stale]", "high", "is not known"),
    ],
)
def test_a_fault_names_the_file_the_table_and_the_key(
    tmp_path: Path, content: str, table: str, key: str, why: str
) -> None:
    with pytest.raises(BadBackends, match=why) as caught:
        load_ways(settings_on(tmp_path, content), tokens=True)
    assert (caught.value.table, caught.value.key) == (table, key)
    assert str(tmp_path / "backends.toml") in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_example_of_the_documentation_is_one(tmp_path: Path) -> None:
    told = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
    for name in ("main", "fallback"):
        (tmp_path / f"{name}.token").write_text("t")
    ways = load_ways(settings_on(tmp_path, told.split("```toml")[1].split("```")[0]))
    assert ([*ways.backends], len(ways.routes), len(ways.stale)) == (["main", "fallback"], 1, 3)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadBackends, match="No such file"):
        load_ways(Settings(backends=tmp_path / "none.toml", _env_file=None))


def order(*products: str, **fields: Any) -> Order:
    lines = [Line(product=each, quantity=1) for each in products or (PLAIN,)]
    return Order(**{"pharmacy": "P1", "reference": "R1", "lines": lines} | fields)


ROUTES = (
    Route("a", pharmacy=frozenset({"P7"})),
    Route("b", region=frozenset({"2A", "SUD"}), priority="urgent"),
    Route("c", classes=frozenset({"cold_chain", "narcotic"})),
)


@pytest.mark.parametrize(
    ("wanted", "backend"),
    [
        (order(), "main"),
        (order(pharmacy="P7", priority="urgent"), "a"),
        (order(pharmacy="2A0000014", priority="urgent"), "b"),
        (order(pharmacy="P9", priority="urgent"), "b"),
        (order(pharmacy="2A0000014"), "main"),
        (order(PLAIN, COLD), "c"),
        (order(COLD, pharmacy="P7"), "a"),
    ],
)
def test_the_first_route_whose_every_condition_holds_else_the_default(wanted: Order, backend: str) -> None:
    catalogue = {COLD: Product(COLD, "cold", classes=frozenset({"cold_chain"})), PLAIN: Product(PLAIN, "plain")}
    assert routing(Ways("main", {}, ROUTES), catalogue, {"P9": "SUD"})(wanted) == backend


@pytest.mark.parametrize(
    ("pharmacy", "found"),
    [("2A0000014", "2A"), ("750712184", "75"), ("970408589", "974"), ("750712185", None), ("OFF-1", None)],
)
def test_the_region_of_a_finess_number_is_its_departement(pharmacy: str, found: str | None) -> None:
    assert region(pharmacy, {}) == found
    assert region(pharmacy, {pharmacy: "SUD"}) == "SUD"


def test_routes_read_the_lists_that_they_ask_for(tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text(f"cip13,label,withdrawn,max_quantity,cold_chain\n{COLD},cold,0,,1\n")
    (tmp_path / "register.csv").write_text("pharmacy,region\nP1,Sud\nP2,\n")
    routes = "[[routes]]\nbackend = 'fallback'\nclass = ['cold_chain']\nregion = ['sud']\n"
    with pytest.raises(NoList, match="RELAIS_CATALOGUE"):
        open_routing(settings_on(tmp_path, TWO + routes))
    lists = {"catalogue": tmp_path / "catalogue.csv", "pharmacy_register": tmp_path / "register.csv"}
    assert load_regions(lists["pharmacy_register"]) == {"P1": "SUD"}
    route = open_routing(settings_on(tmp_path, TWO + routes, **lists))
    goes = [route(order(COLD)), route(order(COLD, pharmacy="P2")), route(order(PLAIN))]
    assert goes == ["fallback", "main", "main"]
    assert open_routing(settings_on(tmp_path, TWO))(order(COLD)) == "main"


def test_queues_of_one_kind_take_turns_and_the_kinds_do_not() -> None:
    urgent, normal = ([queue_of(kind, each) for each in "abc"] for kind in (URGENT, NORMAL))
    cycle = InTurn()
    cycle.update([*urgent, NOTICES, *normal])
    cycle.rotate(normal[0])
    assert cycle.consume(7) == [*urgent, NOTICES, normal[1], normal[2], normal[0]]
    cycle.rotate(urgent[1])
    cycle.rotate(NOTICES)
    cycle.rotate("something else")
    assert cycle.consume(7) == [urgent[0], urgent[2], urgent[1], NOTICES, normal[1], normal[2], normal[0]]


def test_the_answers_of_other_workers_come_on_a_channel_of_the_same_strategy() -> None:
    cycle, answers = InTurn(), "0b1c5d6e.reply.celery.pidbox"
    cycle.update([answers])
    cycle.rotate(answers)
    assert cycle.consume(1) == [answers]
