"""A profile with its requests made ready: every template parsed and checked, none of it sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workers.erp.rest.profile import Profile, RequestPart
from workers.erp.rest.templates import BadTemplate, Form, Template

ORDER: Final = frozenset({"order", "lines", "mapped", "customer", "today"})
PAGE: Final = frozenset({"since", "until", "after", "limit"})


class BadProfile(ValueError):
    """A profile that cannot be used: its file, the key and why."""

    def __init__(self, file: str, key: str, why: str) -> None:
        super().__init__(": ".join((", ".join(filter(None, (file, key))), why)))


class Request:
    """One request of a profile, with its templates."""

    def __init__(
        self, key: str, method: str, templates: Mapping[str, Template], shared: Mapping[str, Template]
    ) -> None:
        self.key, self.method = key, method
        self._path, self._body = templates["path"], templates.get("body")
        own = {name.removeprefix("headers."): each for name, each in templates.items() if name.startswith("headers.")}
        self._headers = {**shared, **own}

    def made(self, given: Mapping[str, Any]) -> tuple[str, dict[str, str], bytes | None]:
        """Path, headers and body. Raises BadTemplate, which names the key."""
        path = _text(f"{self.key}.path", self._path, given)
        if not path.startswith("/"):
            raise BadTemplate(f"{self.key}.path: must begin with a slash")
        headers = {name: _text(f"{self.key}.headers.{name}", each, given) for name, each in self._headers.items()}
        body = None if self._body is None else _text(f"{self.key}.body", self._body, given).encode()
        return path, headers, body


def _text(key: str, template: Template, given: Mapping[str, Any]) -> str:
    try:
        return template.text(given)
    except BadTemplate as error:
        raise BadTemplate(f"{key}: {error}") from None


class Described:
    """A profile with its requests, ready to use."""

    def __init__(self, profile: Profile, file: str) -> None:
        """Raises BadProfile."""
        self.profile, self.file = profile, file
        self._shared = {
            name: self._template(f"headers.{name}", text, "header", frozenset())
            for name, text in profile.headers.items()
        }
        self.send = self._request("send", profile.send, ORDER)
        self.find = self._request("find", profile.find, frozenset({"ids"}))
        self.listing = self._perhaps("list", profile.listing, PAGE)
        self.steps = [
            (frozenset(part.when), part, self._request(f"step.{number}", part, frozenset({"record"})))
            for number, part in enumerate(profile.step)
        ]
        self.read = self._perhaps("read", profile.read, frozenset({"record"}))
        self.undo = self._perhaps("undo", profile.undo, frozenset({"record"}))
        self.probe = self._request("probe", profile.probe, frozenset())
        self.look_ups = {
            kind: self._request(f"look_up.{kind}", part, frozenset({"code"})) for kind, part in profile.look_up.items()
        }

    def _perhaps(self, key: str, part: RequestPart | None, names: frozenset[str]) -> Request | None:
        """Raises BadProfile."""
        return None if part is None else self._request(key, part, names)

    def _request(self, key: str, part: RequestPart, names: frozenset[str]) -> Request:
        """Raises BadProfile."""
        said: dict[str, tuple[str, Form]] = {"path": (part.path, "path")}
        said |= {f"headers.{name}": (text, "header") for name, text in part.headers.items()}
        if part.body is not None:
            said["body"] = (part.body, "json")
        templates = {name: self._template(f"{key}.{name}", text, form, names) for name, (text, form) in said.items()}
        return Request(key, part.method, templates, self._shared)

    def _template(self, key: str, text: str, form: Form, names: frozenset[str]) -> Template:
        try:
            return Template(text, form, names | {"settings"})
        except BadTemplate as error:
            raise BadProfile(self.file, key, str(error)) from None
