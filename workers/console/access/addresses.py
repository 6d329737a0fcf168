"""Where a request comes from: the other end of its connection, or what a proxy of ours says of it.

`X-Forwarded-For` is anybody's to write, so it counts only from a peer that RELAIS_CONSOLE_PROXIES names, and of it
the last address that is no proxy of ours. An IPv6 address stands for its /64, all of which one subscriber has.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from fastapi import Request

UNKNOWN: Final = "unknown"
HOPS: Final = 20  # the most that are looked at


def address_of(request: Request, proxies: str | None) -> str:
    """The address that logins are counted by; `UNKNOWN` where the connection has none (a Unix socket)."""
    peer = _read(request.client.host if request.client else "")
    if peer is None:
        return UNKNOWN
    known = [ip_network(each.strip()) for each in proxies.split(",")] if proxies else []
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for hop in [peer, *map(_read, said[: -HOPS - 1 : -1])]:
        if hop is None:
            break
        peer = hop
        if not any(hop in network for network in known):
            break
    return str(IPv6Network((peer, 64), strict=False)) if isinstance(peer, IPv6Address) else str(peer)


def _read(said: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(said.strip())
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
