"""`/` and `/docs`, made once from the OpenAPI document and given out as bytes from then on.

No page asks the journal, knows who asks, or runs anything in the browser: the policy that goes with it allows the one
style sheet and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic_core import to_json

HERE: Final = Path(__file__).parent
STYLE: Final = "/docs/style.css"
SECTIONS: Final = {"orders": "Orders", "pharmaml": "PharmaML", "health": "How the intake is"}  # by the operations' tag
METHODS: Final = ("post", "get", "delete")  # in this order under a path
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "max-age=300",
}
BOUNDS: Final = {
    "format": "{}",
    "pattern": "matches {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters at most",
    "minimum": "{} or more",
    "maximum": "{} at most",
    "minItems": "{} or more",
    "maxItems": "{} at most",
    "default": "{} unless given",
}

Json = dict[str, Any]


class Operation(NamedTuple):
    """One thing that can be asked: its anchor, method, path, and what the document says of it."""

    anchor: str
    method: str
    path: str
    said: Json


def add_pages(app: FastAPI) -> None:
    """The first page, the reference and their style sheet, for GET and HEAD; none is in the document."""
    made: dict[str, tuple[Callable[[], bytes], str]] = {
        "/": (cache(lambda: rendered("landing.html", app.openapi())), "text/html"),
        "/docs": (cache(lambda: rendered("docs.html", app.openapi())), "text/html"),
        STYLE: (cache((HERE / "style.css").read_bytes), "text/css"),
    }
    for path, (content, media_type) in made.items():
        app.add_api_route(path, _giving(content, media_type), methods=["GET", "HEAD"], include_in_schema=False)


def rendered(template: str, document: Json) -> bytes:
    """A page about what the document describes."""
    room = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"bounds": bounds, "written": written, "words": words}
    sections = {title: list(operations(document, tag)) for tag, title in SECTIONS.items()}
    return room.get_template(template).render(document=document, sections=sections, style=STYLE).encode()


def operations(document: Json, tag: str) -> Iterator[Operation]:
    """The operations with this tag, path after path."""
    for path, methods in document["paths"].items():
        for method in METHODS:
            if (said := methods.get(method)) is not None and tag in said["tags"]:
                yield Operation(said["operationId"], method.upper(), path, said)


def bounds(schema: Json) -> list[str]:
    """What a schema says of a value beside its type, also where the value may be null."""
    inner = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    told = schema | inner[0] if len(inner) == 1 else schema
    return [said.format(told[name]) for name, said in BOUNDS.items() if told.get(name) is not None]


def written(value: object) -> str:
    """JSON as people read it; what is a text already stays as it is."""
    return value if isinstance(value, str) else to_json(value, indent=2).decode()


def words(text: str) -> list[tuple[bool, str]]:
    """A sentence in pieces, each with whether it is code: what stood between backticks."""
    return [(bool(number % 2), piece) for number, piece in enumerate(text.split("`")) if piece]


def _giving(content: Callable[[], bytes], media_type: str) -> Callable[[], Response]:
    def give() -> Response:
        return Response(content(), media_type=media_type, headers=HEADERS)

    return give
