"""A group of settings: read as `settings.erp.timeout`, said under a public name, `erp_timeout` or RELAIS_ERP_TIMEOUT.

Whoever says a setting (the environment, a file, a keyword, a table of backends, `endpoints.json`) says its public name;
groups are for who reads it. The public name is the field's alias: one of its own, or the group's prefix and its name.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Group(BaseModel):
    """Some settings that belong together. It takes its own out of a mapping of all, by their public names."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def public(cls) -> dict[str, tuple[str, FieldInfo]]:
        """Of each setting its public name, its name in here, and the field."""
        return {str(field.alias): (name, field) for name, field in cls.model_fields.items()}


def prefixed(prefix: str) -> ConfigDict:
    """For a group whose public names are `prefix` and the field's name, where the field has no alias of its own."""
    return ConfigDict(alias_generator=lambda name: f"{prefix}{name}")
