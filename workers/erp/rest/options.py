"""The REST connector's own settings: which profile, who we are, and what the profile asks for."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from workers.erp.credentials import AuthOptions, TlsOptions
from workers.erp.rest.described import Described
from workers.erp.rest.loading import load
from workers.erp.rest.trial import tried_out


def _profile(said: Any, info: ValidationInfo) -> Any:
    return load(said, (info.context or {}).get("beside")) if isinstance(said, str) else said


class RestOptions(BaseModel):
    """`profile` is the name of one that comes with Relais, or a file beside this one's.

    `auth` holds what the profile's own does not say. `unique_reference` says that this ERP refuses a second order of
    one reference, where it was made to.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    profile: Annotated[Described, BeforeValidator(_profile)]
    auth: dict[str, Any] = {}
    tls: TlsOptions | None = None
    unique_reference: bool | None = None
    settings: dict[str, str | int] = {}

    @property
    def unique(self) -> bool:
        """Whether the ERP refuses a second order of one reference."""
        said = self.unique_reference
        return self.profile.profile.unique_reference if said is None else said

    def who(self) -> AuthOptions | None:
        """Who we are; it was found good."""
        return _auth(self.profile, self.auth, None)

    @model_validator(mode="after")
    def _fits_the_profile(self, info: ValidationInfo) -> RestOptions:
        asked = self.profile.profile.settings
        if missing := asked.keys() - self.settings.keys():
            name = min(missing)
            raise ValueError(f"settings.{name} is missing: {asked[name].about}")
        for name, value in self.settings.items():
            if name not in asked:
                raise ValueError(f"settings.{name} is not asked for by {self.profile.file}")
            if type(value) is not type(asked[name].example):
                raise ValueError(f"settings.{name} must be like {asked[name].example!r}: {asked[name].about}")
        if (info.context or {}).get("token") is not None:
            raise ValueError("RELAIS_ERP_TOKEN is not used: `auth` says who we are")
        tried_out(self.profile, settings=self.settings)
        self.auth = _resolved(self.profile, self.auth, info)  # its files, beside the settings' own
        return self


_AUTH: TypeAdapter[AuthOptions] = TypeAdapter(AuthOptions)


def _auth(profile: Described, own: dict[str, Any], info: ValidationInfo | None) -> AuthOptions | None:
    said = {**profile.profile.auth, **own}
    if not said:
        return None
    return _AUTH.validate_python(said, context=info.context if info else None)


def _resolved(profile: Described, own: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Raises ValueError, which names the key."""
    try:
        found = _auth(profile, own, info)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"auth.{where}: {first['msg'].removeprefix('Value error, ')}") from None
    return {} if found is None else found.model_dump()
