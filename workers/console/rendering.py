"""Pages from templates: one Jinja2 environment a language and room, everything escaped, undefined names an error.

A template may use `person`, `csrf`, `path`, `theme`, `lang`, `colon`, `zone`, `stores`, `static(name)` and the filters
of its language (`number`, `rate`, `moment`, `calendar`, `ago`, `duration`, `share`, `say`, `outlook`) beside what it is
handed.
"""

from __future__ import annotations

import hashlib
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from config.settings import Settings
from config.telemetry.visible import HIDING, visible
from workers.console.i18n import Words, languages, preferred
from workers.console.masking import say
from workers.console.outlook import outlook

LANGUAGE: Final = "relais-lang"  # cookies; what a person chose for this browser
THEME: Final = "relais-theme"
THEMES: Final = ("auto", "light", "dark")


class Pages:
    """Renders. What differs between two requests is in the request, so one is enough for a process."""

    def __init__(self, settings: Settings) -> None:
        """Templates are compiled when they are first used. LookupError for an unknown time zone."""
        self._zone = settings.console.time_zone
        self.words = _spoken(self._zone)

    def language(self, request: Request) -> Words:
        """The language of this request: what was chosen here, else what the browser prefers."""
        chosen = request.cookies.get(LANGUAGE)
        return self.words[chosen if chosen in self.words else preferred(request.headers.get("accept-language"))]

    def render(self, request: Request, template: str, **context: Any) -> str:
        """A page or a fragment as text."""
        found = self._template(self.language(request).code, template)
        theme = request.cookies.get(THEME)
        person = getattr(request.state, "person", None)
        told = person or getattr(request.state, "unasked", None)
        stores = request.app.state.overview.board.stores(self.language(request).code) if told else ""
        return found.render(
            person=person,
            csrf=person.csrf if person else "",
            path=request.url.path,
            stores=stores,
            theme=theme if theme in THEMES else THEMES[0],
            **context,
        )

    def fragment(self, language: str, template: str, **context: Any) -> str:
        """A fragment that is the same for everybody who reads this language."""
        return self._template(language, template).render(**context)

    def _template(self, language: str, name: str) -> Template:
        """Of an environment that speaks as the template's room does."""
        return _environment(self._zone, language, name.partition("/")[0]).get_template(name)


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page or a fragment as an answer."""
    return HTMLResponse(request.app.state.console.pages.render(request, template, **context), status_code=status)


def words_of(request: Request) -> Words:
    """The language of this request."""
    language: Words = request.app.state.console.pages.language(request)
    return language


@cache
def static(name: str) -> str:
    """The address of one of our static files, which changes with its content. FileNotFoundError."""
    content = (files("workers.console") / "static").joinpath(*name.split("/")).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


_spoken = cache(languages)


def _finalize(value: Any) -> Any:
    """Whatever a template writes out is visible to who reads it; what is safe as HTML stays that."""
    if not isinstance(value, str) or not HIDING.search(value):
        return value
    return Markup(visible(value)) if isinstance(value, Markup) else visible(value)


@cache
def _environment(zone: str, language: str, room: str) -> Environment:
    """A template is compiled once for all consoles of a process."""
    words = _spoken(zone)[language].of_room(room)
    environment = Environment(
        loader=PackageLoader("workers.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        words.gettext, words.ngettext, newstyle=True
    )
    environment.globals |= {"lang": words.code, "colon": words.colon, "static": static, "zone": zone}
    environment.filters |= {
        name: getattr(words, name) for name in ("number", "rate", "moment", "calendar", "ago", "duration", "share")
    }
    environment.filters |= {"say": partial(say, words=words), "outlook": partial(outlook, words=words)}
    return environment
