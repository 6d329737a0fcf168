"""What a profile's template may do, and that it can reach nothing else."""

import json
from threading import Event

import pytest

from workers.erp.rest.templates import MOST_BYTES, MOST_SECONDS, BadTemplate, Template

NASTY = 'quote " backslash \\ brace }} newline \n </script> é \u2028'


def made(source: str, form: str = "json", **given: object) -> str:
    return Template(source, form, frozenset(given)).text(given)  # type: ignore[arg-type]


def test_whatever_a_value_holds_it_is_one_json_value() -> None:
    told = made('{"note": {{ note }}, "all": {{ lines | tojson }}, "n": {{ n + 1 }}}', note=NASTY, lines=[NASTY], n=2)
    assert json.loads(told) == {"note": NASTY, "all": [NASTY], "n": 3}


def test_a_path_is_percent_encoded_and_a_header_is_one_line() -> None:
    assert made("/orders?q={{ q }}\n&r=1", "path", q='a/b &"') == "/orders?q=a%2Fb%20%26%22&r=1"
    assert made("{{ q }}", "header", q="x y") == "x y"
    for form, value in (("header", "a\r\nEvil: 1"), ("header", "\x00")):
        with pytest.raises(BadTemplate, match="control character"):
            made("{{ q }}", form, q=value)


def test_lines_are_repeated_with_what_a_loop_knows() -> None:
    source = "[{% for each in lines %}\n  {{ loop.index }}{% if not loop.last %},{% endif %}\n{% endfor %}]"
    assert json.loads(made(source, lines=["a", "b", "c"])) == [1, 2, 3]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ order.__class__ }}", "undefined|no attribute|__class__"),
        ("{{ order.items }}", "items"),
        ("{{ order['__init__'] }}", "__init__"),
        ("{{ order.get('x') }}", "Call is not for templates"),
        ("{{ range(10) }}", "Call is not for templates"),
        ("{{ order | attr('__class__') }}", "there is no filter attr"),
        ("{{ order | map(attribute='x') | list }}", "there is no filter"),
        ("{% include 'x' %}", "Include is not for templates"),
        ("{% import 'x' as y %}", "Import is not for templates"),
        ("{% macro m() %}{% endmacro %}", "Macro is not for templates"),
        ("{% set x %}a{% endset %}", "AssignBlock is not for templates"),
        ("{% set x = order ~ order %}", "may not be joined"),
        ("{{ 2 ** 99999 }}", "Pow is not for templates"),
        ("{{ 'x' * 99999999 }}", "is for numbers"),
        ("{{ order.a + order.a }}", "is for numbers"),
        ("{% for a in order %}{% for b in order %}{% for c in order %}{% endfor %}{% endfor %}{% endfor %}", "2 deep"),
        ("{{ secret }}", "there is no secret; there are order"),
        ("{{ order.b }}", "b"),
        ('"{{ order.a }}"', "does not make JSON"),
        ("{{ order }", "unexpected"),
    ],
)
def test_what_is_not_for_templates_is_refused(source: str, says: str) -> None:
    with pytest.raises(BadTemplate, match=says):
        made(source, order={"a": "x"})


def test_a_fault_names_its_line() -> None:
    for source in ("{\n\n{{ nothing }}}", "{\n\n{{ order.b }}}", "{\n\n{{ order. }}}"):
        with pytest.raises(BadTemplate, match=r"^line 3 of the template: "):
            made(source, order={})


def test_what_comes_out_is_bounded() -> None:
    doubling = "".join("{% set x = [x, x] %}" for _ in range(40))
    with pytest.raises(BadTemplate, match=f"more than {MOST_BYTES} bytes"):
        made(f"{{% set x = order %}}{doubling}{{{{ x }}}}", order="x")
    with pytest.raises(BadTemplate, match=f"more than {MOST_BYTES} bytes"):
        made("{% for a in order %}{% for b in order %}{{ a }}{% endfor %}{% endfor %}", order=["x" * 100] * 1000)


class Paused(str):
    """Whoever writes it is paused, as by a machine that is busy."""

    __slots__ = ()

    def __str__(self) -> str:
        Event().wait(MOST_SECONDS + 0.1)
        return "x"


def test_a_machine_that_is_busy_is_no_fault_of_a_template() -> None:
    assert Template("{{ a }}/{{ a }}", "path", frozenset({"a"})).text({"a": Paused()}) == "x/x"
