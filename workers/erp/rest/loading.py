"""The profiles that come with Relais, and those of an operator's, read from their files."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from config.errors import first_line, plain
from workers.erp.rest.described import BadProfile, Described
from workers.erp.rest.profile import Profile
from workers.erp.rest.trial import tried_out

SHIPPED: Final = files("workers.erp.rest") / "profiles"


def shipped() -> list[str]:
    """The names of the profiles that come with Relais."""
    return sorted(each.name.removesuffix(".toml") for each in SHIPPED.iterdir() if each.name.endswith(".toml"))


def load(named: str, directory: Path | None = None) -> Described:
    """The profile of that name that comes with Relais, or of that file, looked for in `directory`.

    Raises BadProfile.
    """
    place = SHIPPED / f"{named}.toml" if named in shipped() else (directory or Path()) / named
    try:
        said = tomllib.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        why = f"{error.strerror}; profiles that come with Relais are {', '.join(shipped())}"
        raise BadProfile(str(place), "", why) from None
    except ValueError as error:  # not TOML, or not UTF-8
        why = first_line(error)
        raise BadProfile(str(place), "", f"not TOML in UTF-8: {why[:1].lower()}{why[1:]}") from None
    try:
        described = Described(Profile.model_validate(said), str(place))
        tried_out(described)
        return described
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise BadProfile(str(place), ".".join(map(str, first["loc"])), plain(first["msg"])) from None
