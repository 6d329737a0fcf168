"""The templates of a profile: Jinja2 in a sandbox that reaches nothing but the plain data that it is given.

There are no calls, no imports, no attributes of Python's and no arithmetic on texts. What an expression says is written
as JSON in a body, percent-encoded in a path: `{{ order.note }}` is a whole JSON text with its quotes, whatever a
pharmacy wrote. What comes out is bounded in size and in processor time.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Literal
from urllib.parse import quote

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import from_json

MOST_BYTES: Final = 1024 * 1024  # of what a template makes
MOST_SECONDS: Final = 1.0  # of processor time: a machine that is busy is no fault of the template's
DEEPEST: Final = 2  # loops within loops

Form = Literal["json", "path", "header"]

_LOOP: Final = frozenset({"index", "index0", "first", "last", "length", "revindex", "revindex0"})
_KEPT: Final = (
    "default",
    "first",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "replace",
    "round",
    "string",
    "trim",
    "upper",
)
_ALLOWED: Final = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign, nodes.Name, nodes.Const),
    *(nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.CondExpr),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat),
)


class BadTemplate(Exception):
    """A template that cannot be used, or not with what it was given: why, and the line where it is known."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why if line is None else f"line {line} of the template: {why}")


class _Json(str):
    """What is JSON already."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Knows items of dictionaries and lists, and no attributes."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An item, or what a loop knows of itself."""
        if isinstance(obj, LoopContext):
            return getattr(obj, attribute) if attribute in _LOOP else self.undefined(obj=obj, name=attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item; undefined where there is none."""
        if isinstance(obj, Undefined):
            return obj[argument]  # which says what is undefined
        try:
            return obj[argument] if isinstance(obj, dict | list | tuple | str) else self.undefined(name=str(argument))
        except (LookupError, TypeError):
            return self.undefined(name=str(argument))

    def is_safe_callable(self, obj: Any) -> bool:
        """Nothing is called."""
        return False

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """With numbers alone: texts and lists would grow without bound."""
        if not all(isinstance(each, int | float | Decimal) for each in (left, right)):
            raise SecurityError(f"`{operator}` is for numbers; `~` joins texts")
        return super().call_binop(context, operator, left, right)


class Template:
    """One template of a profile, parsed and checked."""

    def __init__(self, source: str, form: Form, names: frozenset[str]) -> None:
        """That may name these. Raises BadTemplate."""
        self._form = form
        try:
            parsed = _ENVIRONMENTS[form].parse(source)
            _check(parsed, names)
            self._template = _ENVIRONMENTS[form].from_string(source)
        except TemplateSyntaxError as error:
            raise BadTemplate(error.message or "cannot be read", error.lineno) from None

    def text(self, given: Mapping[str, Any]) -> str:
        """What it says with this data, in JSON that is checked, or as part of a request's head. Raises BadTemplate."""
        text = "".join(self._parts(given))
        if self._form == "json":
            try:
                from_json(text, allow_inf_nan=False)
            except ValueError as error:
                raise BadTemplate(f"does not make JSON: {error}") from None
            return text
        text = "".join(line.strip() for line in text.splitlines())
        if not text.isprintable() or (self._form == "path" and " " in text):
            raise BadTemplate("has a space or a control character where none may be")
        return text

    def _parts(self, given: Mapping[str, Any]) -> Iterator[str]:
        """Raises BadTemplate."""
        size, until = 0, time.thread_time() + MOST_SECONDS
        try:
            for part in self._template.generate(**given):
                size += len(part)
                _bound(size, until)
                yield part
        except BadTemplate:
            raise
        except Exception as error:  # Jinja2's own, and whatever a filter raises of what it is given
            raise BadTemplate(str(error) or type(error).__name__, _line(error)) from None


def _bound(size: int, until: float = float("inf")) -> None:
    """Raises BadTemplate beyond so many bytes, or that time of this thread's."""
    if size > MOST_BYTES or time.thread_time() > until:
        raise BadTemplate(f"makes more than {MOST_BYTES} bytes, or takes over {MOST_SECONDS:g} s")


def _line(error: Exception) -> int | None:
    """Where in the template it was raised; Jinja2 rewrites the traceback."""
    found, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            found = frame.tb_lineno
        frame = frame.tb_next
    return found


def _check(parsed: nodes.Template, names: frozenset[str]) -> None:
    """Raise BadTemplate at what no template may do, and at a name that nothing has."""
    for node in parsed.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            raise BadTemplate(f"{type(node).__name__} is not for templates", node.lineno)
        if isinstance(node, nodes.For) and (node.recursive or _depth(node) > DEEPEST):
            raise BadTemplate(f"loops are {DEEPEST} deep at most", node.lineno)
        if isinstance(node, nodes.Assign) and node.find(nodes.Concat):
            raise BadTemplate("what is set may not be joined by `~`: join where it is written", node.lineno)
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise BadTemplate(f"there is no filter {node.name}; there are {', '.join(sorted(_FILTERS))}", node.lineno)
    for name in find_undeclared_variables(parsed) - names:
        line = next((each.lineno for each in parsed.find_all(nodes.Name) if each.name == name), None)
        raise BadTemplate(f"there is no {name}; there are {', '.join(sorted(names))}", line)


def _depth(node: nodes.Node) -> int:
    """How many loops are within each other from here on."""
    deepest = max((_depth(each) for each in node.iter_child_nodes()), default=0)
    return deepest + isinstance(node, nodes.For)


def _dumped(value: Any) -> str:
    """As JSON; a number that is exact stays so."""
    if isinstance(value, Undefined):
        str(value)  # raises, and says what is undefined
    size, parts = 0, []
    for part in json.JSONEncoder(ensure_ascii=False, allow_nan=False).iterencode(value):
        size += len(part)
        _bound(size)
        parts.append(part)
    return "".join(parts)


def _as_json(value: Any) -> str:
    return value if isinstance(value, _Json) else _dumped(value)


def _plain(value: Any) -> str:
    return str(value) if isinstance(value, str | Undefined) else _dumped(value)


def _in_a_line(value: Any) -> str:
    text = _plain(value)
    if not text.isprintable():
        raise BadTemplate("a control character, where none may be")
    return text


def _base64url(value: Any) -> str:
    return urlsafe_b64encode(_dumped(value).encode()).decode()


_FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    **{name: FILTERS[name] for name in _KEPT},
    "tojson": lambda value: _Json(_as_json(value)),
    "base64url": _base64url,  # of its JSON
}


def _environment(finalize: Callable[[Any], str]) -> _Sandbox:
    made = _Sandbox(undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True)
    made.globals.clear()
    made.filters = dict(_FILTERS)
    return made


_ENVIRONMENTS: Final[Mapping[Form, _Sandbox]] = {
    "json": _environment(_as_json),
    "path": _environment(lambda value: quote(_plain(value), safe="")),
    "header": _environment(_in_a_line),
}
