"""A page as a browser has it: where its links lead, and what its forms send when nobody changes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx


@dataclass
class Form:
    """A form: where it goes, and its fields as they stand; an unticked box is not among them, but in `boxes`."""

    action: str
    method: str
    fields: dict[str, list[str]] = field(default_factory=dict)
    boxes: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)  # where its buttons send it instead

    def fill(self, **values: str) -> Form:
        """Write into fields that are there; returns the form."""
        for name, value in values.items():
            assert name in self.fields, f"{name} is not among {list(self.fields)}"
            self.fields[name] = [value]
        return self

    def tick(self, name: str, *values: str) -> Form:
        """Tick boxes that are there; returns the form."""
        assert {*values} <= {*self.boxes[name]}
        self.fields.setdefault(name, []).extend(values)
        return self


class _Teller(HTMLParser):
    """What is to be read or heard, but for codes, names and what people typed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._open: list[tuple[str, bool]] = []  # each tag, and whether what it holds is left out

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        own = tag in ("script", "style", "code") or "data-typed" in given
        classes = {*str(given.get("class", "")).split()}
        if tag not in VOID:
            self._open.append((tag, own or bool({"id", "ids"} & classes) or (self._open or [("", False)])[-1][1]))
        self.lines += [str(given[name]) for name in ("aria-label", "title", "placeholder", "alt") if given.get(name)]

    def handle_endtag(self, tag: str) -> None:
        while tag not in VOID and self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if (told := re.sub(r"[^\S\u202f]+", " ", data).strip(" ")) and not (self._open and self._open[-1][1]):
            self.lines.append(told)


VOID = frozenset({"br", "img", "input", "link", "meta", "path", "rect", "polyline", "polygon"})


def lines_of(html: str) -> list[str]:
    """What a person reads or hears of a page, but for codes, names and what people typed."""
    teller = _Teller()
    teller.feed(html)
    return teller.lines


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._choice: tuple[str, bool] | None = None  # name of the select that is open, and whether one is selected
        self._option: dict[str, str | None] | None = None
        self._area: str | None = None
        self._said = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        elif tag == "form":
            self._open = Form(str(given.get("action")), str(given.get("method", "get")))
            self.forms.append(self._open)
        elif self._open is not None:
            self._field(self._open, tag, given)
        self._said = ""

    def _field(self, form: Form, tag: str, given: dict[str, str | None]) -> None:
        name = str(given.get("name"))
        if tag == "input" and given.get("type") == "checkbox":
            form.boxes.setdefault(name, []).append(str(given.get("value")))
        elif tag == "input":
            form.fields.setdefault(name, []).append(given.get("value") or "")
        elif tag == "textarea":
            self._area = name
        elif tag == "select":
            self._choice = name, False
        elif tag == "option":
            self._option = given
        elif tag == "button" and given.get("formaction"):
            form.buttons.append(str(given["formaction"]))

    def handle_data(self, data: str) -> None:
        self._said += data

    def handle_endtag(self, tag: str) -> None:
        form = self._open
        if tag == "form":
            self._open = None
        elif form is not None and tag == "textarea" and self._area:
            form.fields[self._area] = [self._said]
        elif form is not None and tag == "option" and self._choice and self._option is not None:
            name, selected = self._choice
            if name not in form.fields or ("selected" in self._option and not selected):
                value = self._option.get("value")
                form.fields[name] = [self._said if value is None else value]
                self._choice = name, "selected" in self._option


def links_of(answer: httpx.Response) -> list[str]:
    """Where the links of a page lead, in order."""
    return _read(answer).links


def forms_of(answer: httpx.Response) -> list[Form]:
    """The forms of a page, in order."""
    return _read(answer).forms


def _read(answer: httpx.Response) -> _Reader:
    reader = _Reader()
    reader.feed(answer.text)
    return reader
