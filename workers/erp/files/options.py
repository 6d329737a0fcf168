"""The files connector's own settings: which directories, how one logs in, and what the files look like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import asyncssh
from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    model_validator,
)

from workers.erp.files.tables.template import AnswerTemplate, FileModel, OrderTemplate

SUFFIX: Final = {"edifact": "edi", "csv": "csv", "fixed": "txt"}
KEYS: Final = ("{id}", "{order}", "{control}")


def _beside(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("beside")
    return directory / path if directory else path


def _below(path: str) -> str:
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError("must be a directory below that of the URL, without . or .. and without / at either end")
    return path


def _file_name(name: str) -> str:
    for key in KEYS:
        rest = name.replace(key, "x", 1)
        if key in name and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", rest):
            return name
    raise ValueError(f"must hold {', '.join(KEYS[:-1])} or {KEYS[-1]} once, and else letters, digits, . _ and -")


Beside = Annotated[Path, AfterValidator(_beside)]
Below = Annotated[str, AfterValidator(_below)]
Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9._ -]{1,35}$")]
Agency = Annotated[str, Field(pattern=r"^[0-9A-Z]{0,3}$")]


class SftpOptions(FileModel):
    """As whom, and with what; the pinned keys as `ssh-keygen -l` shows them. Secrets are read at each log-in."""

    user: str = Field(min_length=1)
    host_keys: frozenset[Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]] = Field(min_length=1)
    key_file: Beside | None = None
    passphrase_file: Beside | None = None
    password_file: Beside | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.key_file is None) == (self.password_file is None):
            raise ValueError("needs key_file or password_file, one of them")
        return self

    def keys(self) -> list[asyncssh.SSHKey]:
        """The key that we show. Raises asyncssh's KeyImportError or KeyEncryptionError, and OSError."""
        if self.key_file is None:
            return []
        return [asyncssh.read_private_key(self.key_file, _secret(self.passphrase_file))]

    def password(self) -> str | None:
        """The password that we say. Raises OSError."""
        return _secret(self.password_file)


class EdifactOptions(FileModel):
    """What stands in the envelope and the codes of ORDERS, and how ORDRSP is read (docs/files.md)."""

    sender: Code
    recipient: Code
    sender_qualifier: Code = "14"
    recipient_qualifier: Code = "14"
    syntax: Literal["UNOA", "UNOB", "UNOC", "UNOY"] = "UNOC"
    test: bool = False
    articles: Literal["product", "mapped"] = "product"
    customers: Literal["pharmacy", "mapped"] = "pharmacy"
    customer_agency: Agency = "91"  # 91: coded by the seller, 92: by the buyer, 9: GLN
    unit: Agency = "PCE"
    back_ordered: Agency = "83"  # the qualifier of the quantity that comes later; empty: none is read


class FilesOptions(FileModel):
    """Which directories below the URL's, what is in the files, and when an answer may be read."""

    format: Literal["edifact", "csv", "fixed"]
    orders: Below = "orders"
    answers: Below = "answers"
    work: Below = "relais"
    name: Annotated[str, AfterValidator(_file_name)] | None = None
    answer_names: tuple[str, ...] = ("*",)
    steady: NonNegativeFloat = 5.0
    unfinished: PositiveFloat = 600.0
    most_bytes: PositiveInt = 4 * 1024 * 1024
    unique_reference: bool = False  # the ERP takes each name of a file, or each order's number, once
    sftp: SftpOptions | None = None
    edifact: EdifactOptions | None = None
    order: OrderTemplate | None = None
    answer: AnswerTemplate | None = None

    @model_validator(mode="after")
    def _all_that_the_format_needs(self) -> Self:
        if self.format == "edifact" and self.edifact is None:
            raise ValueError("format edifact needs a table edifact")
        if self.format != "edifact" and self.order is None:
            raise ValueError(f"format {self.format} needs a table order")
        if self.edifact is None and self.answer is None:
            raise ValueError("needs a table answer, or edifact, to read answers by")
        if self.format == "fixed" and self.order and self.order.widthless():
            raise ValueError(f"order: {self.order.widthless()} has no width")
        if len({self.orders, self.answers, self.work}) < 3:
            raise ValueError("orders, answers and work must be three directories")
        return self

    def file_name(self, names: dict[str, str]) -> str:
        """The name of an order's file, the same one every time."""
        name = self.name or "{order}." + SUFFIX[self.format]
        for key, value in names.items():
            name = name.replace(f"{{{key}}}", value)
        return name

    def mapped(self) -> bool:
        """Whether the files name articles or customers as the ERP does."""
        if self.format == "edifact":
            return self.edifact is not None and "mapped" in (self.edifact.articles, self.edifact.customers)
        return self.order is not None and self.order.mapped()


def _secret(file: Path | None) -> str | None:
    return None if file is None else file.read_text(encoding="utf-8").rstrip("\r\n")
