"""Who is at the console, and what they may do: three roles, each with all that the one before it may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an account may do, from the least upward."""

    VIEWER = "viewer"  # looks
    OPERATOR = "operator"  # acts: pauses, quarantines, replays, proposes a release
    APPROVER = "approver"  # and lets go: releases, approves what another proposed

    def covers(self, other: Role) -> bool:
        """Whether this role may all that the other may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is logged in; `csrf` is what their forms have to bring along."""

    name: str
    role: Role
    csrf: str

    def may(self, role: str) -> bool:
        """For templates: whether they have at least this role."""
        return self.role.covers(Role(role))


def subject_of(issuer: str, sub: str) -> str:
    """What an account is known by that comes by an identity provider; `sub` is who it is there."""
    return f"{issuer}#{sub}"
