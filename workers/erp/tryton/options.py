"""The Tryton connector's own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationInfo


def _beside(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("beside")
    return directory / path if directory else path


class TrytonOptions(BaseModel):
    """Which database, as whom, and for which company. The password is read at each log-in: it can be renewed.

    `unique_reference` says that the index of docs/tryton.md is there, by which Tryton takes no second sale of an order,
    `ships_within` in how many days of its date a sale is shipped as a rule: what is planned for later is back-ordered.
    """

    model_config = ConfigDict(extra="forbid")

    database: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,63}$")
    user: str = Field(min_length=1)
    password_file: Annotated[Path, AfterValidator(_beside)]
    company: PositiveInt
    currency: PositiveInt
    unique_reference: bool = False
    ships_within: NonNegativeInt | None = None
