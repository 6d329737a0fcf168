"""Which backend an order goes to: the first route whose every condition it meets, else the default.

Decided once, when the order is written to the journal; from then on only an operator moves it. Pure, but for the
lists that `open_routing` reads, and it reads only those that the routes ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from config.settings import Settings
from config.settings.routes_file import Route, Ways, load_ways
from orders.identifiers import is_finess
from orders.model import Order
from orders.rules.catalogue import Catalogue, NoList, classes_of, load_catalogue, load_regions

Routing = Callable[[Order], str]


def always(backend: str) -> Routing:
    """Every order to one backend."""
    return lambda order: backend


def open_routing(settings: Settings) -> Routing:
    """The routing that the settings ask for. Raises BadBackends, BadList and NoList."""
    ways = load_ways(settings)
    return routing(ways, _catalogue(settings, ways), _regions(settings, ways))


def routing(ways: Ways, catalogue: Catalogue, regions: Mapping[str, str]) -> Routing:
    """The routing by these lists: products by CIP13, the region of each pharmacy that the register has one of."""
    if not ways.routes:
        return always(ways.default)

    def route(order: Order) -> str:
        taken = (each.backend for each in ways.routes if _takes(each, order, catalogue, regions))
        return next(taken, ways.default)

    return route


def region(pharmacy: str, regions: Mapping[str, str]) -> str | None:
    """The register's, else the département that a FINESS number begins with: 13, 2A, 974; None for other codes.

    Overseas numbers begin 970 and the département's last digit (FINESS, the register of DREES).
    """
    if (listed := regions.get(pharmacy)) is not None:
        return listed
    if not is_finess(pharmacy):
        return None
    if pharmacy.startswith("97"):
        return "97" + (pharmacy[3] if pharmacy[2] == "0" else pharmacy[2])
    return pharmacy[:2]


def _takes(route: Route, order: Order, catalogue: Catalogue, regions: Mapping[str, str]) -> bool:
    return (
        (route.priority is None or order.priority == route.priority)
        and (route.pharmacy is None or order.pharmacy in route.pharmacy)
        and (route.region is None or region(order.pharmacy, regions) in route.region)
        and (route.classes is None or not route.classes.isdisjoint(classes_of(order, catalogue)))
    )


def _catalogue(settings: Settings, ways: Ways) -> Catalogue:
    if not any(route.classes for route in ways.routes):
        return {}
    if settings.files.catalogue is None:
        raise NoList("a route asks for a class of product, and RELAIS_CATALOGUE is not set")
    return load_catalogue(settings.files.catalogue)


def _regions(settings: Settings, ways: Ways) -> Mapping[str, str]:
    if not any(route.region for route in ways.routes) or settings.files.pharmacy_register is None:
        return {}
    return load_regions(settings.files.pharmacy_register)
