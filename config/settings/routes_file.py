"""Several ways out: the file at RELAIS_BACKENDS, which names backends, the routes to them, and when orders are stale.

Each backend gets a `Settings` of its own, validated like the one of the environment: what its table does not say is
as RELAIS_* has it, but for URL, token, kind and connector, which are nobody else's. Without the file there is the one
backend of RELAIS_BACKEND and RELAIS_ERP_*. A fault names the file, the table and the key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from config.durations import duration
from config.errors import plain
from config.settings.forwarding import DeliverySettings, ErpSettings
from config.settings.settings import Settings

CLASSES: Final = ("cold_chain", "narcotic", "quota")
PRIORITIES: Final = ("urgent", "normal")
SHARED: Final = frozenset({"backend", "erp_sim_port"})  # of the group of the ERP what no table says
ALONE: Final[Mapping[str, object]] = {"erp_token": None, "erp_kind": "http", "erp_connector": None}  # of no other one
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class BadBackends(Exception):
    """The file of backends cannot be used: its path, the table, the key and why."""

    def __init__(self, path: Path, table: str, key: str, why: str) -> None:
        super().__init__(": ".join((", ".join(filter(None, (str(path), table, key))), why)))
        self.path, self.table, self.key = path, table, key


@dataclass(frozen=True, slots=True)
class Route:
    """A backend, and what an order must be to go there: every condition that is not None holds."""

    backend: str
    pharmacy: frozenset[str] | None = None
    region: frozenset[str] | None = None
    classes: frozenset[str] | None = None
    priority: str | None = None


@dataclass(frozen=True, slots=True)
class Ways:
    """Every way out, the default one first; `stale` has by priority and class how old an order may be."""

    default: str
    backends: Mapping[str, Settings]
    routes: tuple[Route, ...] = ()
    stale: Mapping[str, timedelta] = field(default_factory=dict)


def load_backends(settings: Settings, *, tokens: bool = False) -> Mapping[str, Settings]:
    """The settings of each backend, the default one first. Raises BadBackends.

    Files of tokens are opened only for who calls the ERP and says so: a process apart may not read them.
    """
    return load_ways(settings, tokens=tokens).backends


def longest_batch(settings: Settings) -> float:
    """Seconds that a batch may take, with the backend that is given most, until it is settled. Raises BadBackends."""
    return max(each.delivery.batch_budget for each in load_backends(settings).values()) * 1.2 + 2


def load_ways(settings: Settings, *, tokens: bool = False) -> Ways:
    """What the file of backends says, or the one backend of the environment. Raises BadBackends."""
    if settings.files.backends is None:
        return Ways(settings.erp.backend, {settings.erp.backend: settings})
    return _File(settings.files.backends, tokens=tokens).ways(settings)


def _keys() -> dict[str, str]:
    """The public names of the settings of one backend, by the names that they have in its table and in their group."""
    names = (ErpSettings.public() | DeliverySettings.public()).items()
    return {name: public for public, (name, _) in names if public not in SHARED}


class _File:
    """One file, read once; every method raises BadBackends."""

    def __init__(self, path: Path, *, tokens: bool) -> None:
        self._path, self._tokens = path, tokens
        try:
            self._content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise self._bad("", "", error.strerror or str(error)) from None
        except ValueError as error:  # not TOML, or not UTF-8
            raise self._bad("", "", str(error)) from None

    def ways(self, settings: Settings) -> Ways:
        self._only("", self._content, "backends", "default", "routes", "stale")
        tables = self._table("backends")
        if not tables:
            return Ways(settings.erp.backend, {settings.erp.backend: settings}, stale=self._stale())
        default = self._default(tables)
        names = [default, *(name for name in tables if name != default)]
        backends = {name: self._backend(settings, name, tables[name]) for name in names}
        listed = self._content.get("routes", [])
        if not isinstance(listed, list):
            raise self._bad("routes", "", "must be tables [[routes]]")
        routes = tuple(self._route(number, each, backends) for number, each in enumerate(listed, 1))
        return Ways(default, backends, routes, self._stale())

    def _default(self, tables: Mapping[str, Any]) -> str:
        default = self._content.get("default", next(iter(tables)) if len(tables) == 1 else None)
        if default not in tables:
            raise self._bad("", "default", f"must name one of the backends: {', '.join(tables)}")
        return str(default)

    def _backend(self, settings: Settings, name: str, given: Any) -> Settings:
        table, keys = f"[backends.{name}]", _keys()
        if not NAME.fullmatch(name) or not isinstance(given, dict):
            raise self._bad(table, "", "must be a table, named by up to 32 of a-z, 0-9, dash and underscore")
        self._only(table, given, *keys, "token_file")
        own = {keys[key]: value for key, value in given.items() if key != "token_file"}
        if "token_file" in given and self._tokens:
            own["erp_token"] = self._secret(table, given["token_file"])
        if isinstance(own.get("erp_connector"), str):
            own["erp_connector"] = self._path.parent / own["erp_connector"]
        if not isinstance(own.get("erp_url"), str):
            raise self._bad(table, "url", "must be the base URL of the backend's order endpoint")
        common = {**settings.values(), "backend": name, **ALONE}
        try:
            return Settings(**{**common, **own})
        except ValidationError as error:
            raise self._wrong(table, error) from None

    def _secret(self, table: str, name: Any) -> str:
        try:
            return (self._path.parent / str(name)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._bad(table, "token_file", f"{name} cannot be read: {error}") from None

    def _route(self, number: int, given: Any, backends: Mapping[str, Settings]) -> Route:
        table = f"[[routes]] {number}"
        if not isinstance(given, dict):
            raise self._bad(table, "", "must be a table")
        self._only(table, given, "backend", "pharmacy", "region", "class", "priority")
        if given.get("backend") not in backends:
            raise self._bad(table, "backend", f"must be one of {', '.join(backends)}")
        if len(given) == 1:
            raise self._bad(table, "", "has no condition: what no route takes goes to `default`")
        priority = given.get("priority")
        if priority is not None and priority not in PRIORITIES:
            raise self._bad(table, "priority", f"must be one of {', '.join(PRIORITIES)}")
        classes = self._texts(table, given, "class")
        if classes is not None and (unknown := classes - {*CLASSES}):
            raise self._bad(table, "class", f"{', '.join(sorted(unknown))}: must be of {', '.join(CLASSES)}")
        regions = self._texts(table, given, "region")
        folded = None if regions is None else frozenset(each.upper() for each in regions)
        return Route(given["backend"], self._texts(table, given, "pharmacy"), folded, classes, priority)

    def _stale(self) -> dict[str, timedelta]:
        given = self._table("stale")
        self._only("[stale]", given, *PRIORITIES, *CLASSES)
        ages = {}
        for key, text in given.items():
            try:
                ages[key] = duration(str(text))
            except ValueError as error:
                raise self._bad("[stale]", key, str(error)) from None
        return ages

    def _texts(self, table: str, given: Mapping[str, Any], key: str) -> frozenset[str] | None:
        listed = given.get(key)
        if listed is None:
            return None
        if not isinstance(listed, list) or not listed or not all(isinstance(each, str) for each in listed):
            raise self._bad(table, key, "must be a list of texts, at least one")
        return frozenset(listed)

    def _table(self, name: str) -> dict[str, Any]:
        found = self._content.get(name, {})
        if not isinstance(found, dict):
            raise self._bad(f"[{name}]", "", "must be a table")
        return found

    def _only(self, table: str, given: Mapping[str, Any], *known: str) -> None:
        if unknown := [key for key in given if key not in known]:
            raise self._bad(table, unknown[0], f"is not known; known are {', '.join(sorted(known))}")

    def _wrong(self, table: str, error: ValidationError) -> BadBackends:
        """Pydantic's first finding under the key that it has here, without the value (a secret?)."""
        names = {name: key for key, name in _keys().items()}
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        why = re.sub(r"RELAIS_(\w+)", lambda found: names.get(found[1].lower(), found[0]), detail["msg"])
        public = str(detail["loc"][-1]) if detail["loc"] else ""
        key = names.get(public, public)
        return self._bad(table, key, plain(why))

    def _bad(self, table: str, key: str, why: str) -> BadBackends:
        return BadBackends(self._path, table, key, why)
