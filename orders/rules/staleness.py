"""Has an order gone stale? A policy says how old it may be when it is forwarded, by its priority and by the classes
of its products; the strictest that applies is the one that counts.

During an outage pharmacies buy elsewhere, and medicine delivered twice is a harm: past an age, a person says yes.
Pure: the time, the catalogue and the policy are handed in. Without a policy nothing goes stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from config.durations import span
from config.settings import Settings
from config.settings.routes_file import CLASSES, load_ways
from orders.errors import Fault
from orders.model import Order
from orders.refusals import NotDone
from orders.rules.catalogue import Catalogue, NoList, classes_of
from orders.sentences import Sentence

Policy = Mapping[str, timedelta]

WHAT: Final = {
    "urgent": NotDone.STALE_URGENT,
    "normal": NotDone.STALE_NORMAL,
    "cold_chain": NotDone.STALE_COLD_CHAIN,
    "narcotic": NotDone.STALE_NARCOTIC,
    "quota": NotDone.STALE_QUOTA,
}


def open_policy(settings: Settings) -> Policy:
    """The policy that the settings ask for. Raises BadBackends and NoList."""
    policy = load_ways(settings).stale
    if settings.files.catalogue is None and (asked := [name for name in CLASSES if name in policy]):
        raise NoList(f"[stale] has {', '.join(asked)}, and RELAIS_CATALOGUE is not set")
    return policy


def stale(order: Order, since: datetime, now: datetime, policy: Policy, catalogue: Catalogue | None) -> Fault | None:
    """Why an order that is as fresh as at `since` is too old at `now`, or None while it is not."""
    if not policy:
        return None
    names = (order.priority, *sorted(classes_of(order, catalogue or {})))
    bounds = [(policy[name], name) for name in names if name in policy]
    if not bounds or now - since <= min(bounds)[0]:
        return None
    bound, name = min(bounds)
    aged, may = span((now - since).total_seconds()), span(bound.total_seconds())
    return Fault("age", None, Sentence(WHAT[name], aged=aged, may=may))
