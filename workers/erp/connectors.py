"""Which connector speaks to a backend, by its kind: ours by name, another by an entry point of the group `relais.erp`.

A connector is what `Connector` holds: the model of its own settings, and how one is opened. Those settings stand in a
TOML file of the backend's (`RELAIS_ERP_CONNECTOR`, `connector` in the file of backends), so that a fault in them is
named by file and key before the first order goes. Worker, `relais reconcile` and console all open it here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from config.errors import first_line, plain
from config.settings import Settings
from workers.erp.port import Barrier, Erp
from workers.erp.signatures import Keys

GROUP: Final = "relais.erp"
OURS: Final[Mapping[str, str]] = {
    "files": "workers.erp.files:FILES",
    "http": "workers.erp.http:HTTP",
    "odata": "workers.erp.odata:ODATA",
    "rest": "workers.erp.rest:REST",
    "tryton": "workers.erp.tryton:TRYTON",
}

Own = TypeVar("Own", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Connector(Generic[Own]):
    """A way to speak to a kind of ERP.

    `open` gets the backend's settings, the connector's own, the keys that verify receipts (or None), and the barrier
    that says whether anything may be sent (or None); nothing connects yet. It may raise MissingSetting.
    """

    options: type[Own]
    open: Callable[[Settings, Own, Keys | None, Barrier | None], Erp]


class BadConnector(Exception):
    """A backend's connector cannot be used: which backend, the file and key where one is at fault, and why."""

    def __init__(self, backend: str, why: str, file: Path | None = None, key: str = "") -> None:
        super().__init__(": ".join((", ".join(filter(None, (backend, str(file or ""), key))), why)))
        self.backend, self.file, self.key = backend, file, key


def kinds() -> frozenset[str]:
    """Every kind that RELAIS_ERP_KIND may name here."""
    return frozenset(OURS) | {each.name for each in entry_points(group=GROUP)}


def check(settings: Settings) -> None:
    """Raise BadConnector or MissingSetting where the backend's connector could not be opened."""
    _made(settings)
    settings.need("erp_url")


def open_erp(settings: Settings, keys: Keys | None = None, barrier: Barrier | None = None) -> Erp:
    """The connector of the backend whose settings these are; nothing connects yet.

    Raises BadConnector, and MissingSetting where it has no address.
    """
    connector, options = _made(settings)
    erp: Erp = connector.open(settings, options, keys, barrier)
    said = {name: getattr(settings.erp, name) for name in ("absent_after", "ack_within")}
    erp.capabilities = replace(erp.capabilities, **{name: each for name, each in said.items() if each is not None})
    return erp


def options_of(settings: Settings) -> BaseModel:
    """The connector's own settings. Raises BadConnector."""
    return _made(settings)[1]


def _made(settings: Settings) -> tuple[Connector[Any], BaseModel]:
    backend = settings.erp.backend
    connector = _connector(settings.erp.kind, backend)
    return connector, _options(connector.options, settings, backend)


@cache
def _connector(kind: str, backend: str) -> Connector[Any]:
    place = OURS.get(kind) or next((each.value for each in entry_points(group=GROUP) if each.name == kind), None)
    if place is None:
        raise BadConnector(backend, f"there is no connector {kind}; there are {', '.join(sorted(kinds()))}")
    try:
        found = resolve_name(place)
    except Exception as error:  # another's package: whatever ails it, it is said
        raise BadConnector(backend, f"the connector {kind} cannot be loaded: {first_line(error)}") from error
    if not isinstance(found, Connector):
        raise BadConnector(backend, f"the connector {kind} cannot be used: {place} is no Connector")
    return found


def _options(model: type[BaseModel], settings: Settings, backend: str) -> BaseModel:
    """The connector's own settings. Raises BadConnector, without a value that may be a secret."""
    file = settings.erp.connector
    try:
        said = {} if file is None else tomllib.loads(file.read_text(encoding="utf-8"))
        return model.model_validate(said, context={"beside": file and file.parent, "token": settings.erp.token})
    except OSError as error:
        raise BadConnector(backend, error.strerror or first_line(error), file) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key, why = ".".join(map(str, first["loc"])), plain(first["msg"])
        if file is None and first["type"] == "missing":
            why = f"{why}; RELAIS_ERP_CONNECTOR names no file"
        raise BadConnector(backend, why, file, key) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise BadConnector(backend, str(error), file) from None
