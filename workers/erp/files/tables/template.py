"""What a CSV or fixed-width file looks like, as a TOML template describes it: which fields, in which turn.

A file of an order is a list of records, each written once an order or once a line. An answer is rows of the same kind,
read by the columns that are named; rows of one order belong together.
"""

from __future__ import annotations

import codecs
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, model_validator

OF_ORDER: Final = (
    "id",
    "order",
    "control",
    "reference",
    "pharmacy",
    "customer",
    "price_list",
    "warehouse",
    "priority",
    "cut_off",
    "valid_until",
    "note",
    "lines",
    "date",
    "text",
)
OF_LINE: Final = ("line", "product", "article", "quantity")
MAPPED: Final = frozenset({"customer", "price_list", "warehouse", "article"})
FREE: Final = frozenset({"note", "text"})  # may be cut and spelled otherwise; a code may not


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("is no encoding that Python knows") from None


Encoding = Annotated[str, AfterValidator(_encoding)]
OneCharacter = Annotated[str, Field(min_length=1, max_length=1)]


class FileModel(BaseModel):
    """Settings of the connector's: what is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldTemplate(FileModel):
    """One field: what `is` in it, and in a fixed-width file its width, the side that is filled and with what."""

    is_: Literal[
        "id",
        "order",
        "control",
        "reference",
        "pharmacy",
        "customer",
        "price_list",
        "warehouse",
        "priority",
        "cut_off",
        "valid_until",
        "note",
        "lines",
        "date",
        "text",
        "line",
        "product",
        "article",
        "quantity",
    ] = Field(alias="is")
    text: str = ""
    name: str = ""
    width: PositiveInt | None = None
    align: Literal["left", "right"] = "left"
    fill: OneCharacter = " "
    format: str = "%Y%m%d%H%M"


class RecordTemplate(FileModel):
    """One kind of row: once an order, or once a line."""

    per: Literal["order", "line"] = "line"
    fields: tuple[FieldTemplate, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fields_of_an_order(self) -> Self:
        if self.per == "order" and (wrong := [each.is_ for each in self.fields if each.is_ in OF_LINE]):
            raise ValueError(f"{wrong[0]} is a line's, and the record is written once an order")
        return self


class OrderTemplate(FileModel):
    """A file of one order."""

    encoding: Encoding = "utf-8"
    separator: OneCharacter = ";"
    line_end: Literal["\n", "\r\n"] = "\r\n"
    header: bool = False
    records: tuple[RecordTemplate, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _says_which_order_and_what(self) -> Self:
        said = {each.is_ for record in self.records for each in record.fields}
        for needed in ({"id", "order", "control"}, {"product", "article"}, {"quantity"}):
            if not needed & said:
                raise ValueError(f"no field is {' or '.join(sorted(needed))}")
        if self.header and len(self.records) > 1:
            raise ValueError("a header names the fields of one kind of record, and there are several")
        return self

    def mapped(self) -> bool:
        """Whether a field is what the mapping tells."""
        return any(each.is_ in MAPPED for record in self.records for each in record.fields)

    def widthless(self) -> str:
        """A field that a fixed-width file cannot have, empty where there is none."""
        return next((each.is_ for record in self.records for each in record.fields if each.width is None), "")


Column = str | PositiveInt | tuple[PositiveInt, PositiveInt]


class AnswerTemplate(FileModel):
    """A file of answers: columns by their name in the header, or from 1; in fixed width the first and last character.

    `accepted`, `refused` and `received` are the words of the column `status` that mean so.
    """

    format: Literal["csv", "fixed"] = "csv"
    encoding: Encoding = "utf-8"
    separator: OneCharacter = ";"
    header: bool = True
    decimal: Literal[".", ","] = "."
    date: str = "%Y-%m-%d"
    order: Column
    reference: Column | None = None
    status: Column | None = None
    line: Column | None = None
    product: Column | None = None
    quantity: Column | None = None
    back_ordered: Column | None = None
    expected: Column | None = None
    substitute: Column | None = None
    reason: Column | None = None
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    received: tuple[str, ...] = ()

    def columns(self) -> dict[str, Column]:
        """The columns that are said, by what they hold."""
        return {name: said for name in READ if (said := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if self.status is None and (self.line is None or self.quantity is None):
            raise ValueError("needs a column status, or line and quantity, to tell what was decided")
        if self.status is not None and not self.accepted:
            raise ValueError("says which column is the status, and no word that means accepted")
        for name, said in self.columns().items():
            if (self.format == "fixed") != isinstance(said, tuple):
                wanted = "first and last character" if self.format == "fixed" else "a name or number"
                raise ValueError(f"{name} must be {wanted} in a file of format {self.format}")
            if isinstance(said, str) and not self.header:
                raise ValueError(f"{name} is a name, and the file has no header")
        return self


READ: Final = (
    "order",
    "reference",
    "status",
    "line",
    "product",
    "quantity",
    "back_ordered",
    "expected",
    "substitute",
    "reason",
)
