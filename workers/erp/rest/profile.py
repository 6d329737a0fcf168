"""A profile: how an ERP is spoken to, as a TOML file says it, checked whole before anything is sent (docs/rest.md).

Where things are in an answer is said in JMESPath; what is sent is said in templates, which name what each part gives.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Means = Literal["refused", "transient", "throttled", "unknown", "duplicate"]


class JsonPlace:
    """Where something is in an answer, in JMESPath."""

    def __init__(self, said: str) -> None:
        """Raises ValueError."""
        self.said = said
        try:
            self._compiled = jmespath.compile(said)
        except JMESPathError as error:
            raise ValueError(f"is no JMESPath: {str(error).splitlines()[0]}") from None

    def of(self, answer: Any) -> Any:
        """What is there; None where nothing is, or where a function does not fit what is there."""
        try:
            return self._compiled.search(answer)
        except JMESPathError:
            return None


def _place(said: Any) -> Any:
    return JsonPlace(said) if isinstance(said, str) else said


At = Annotated[JsonPlace, BeforeValidator(_place)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class RequestPart(_Part):
    """One request; path, headers and body are templates."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    path: str = Field(min_length=1, max_length=8000)
    headers: dict[str, str] = {}
    body: str | None = Field(None, max_length=64 * 1024)


class SendPart(RequestPart):
    """What makes an order; `record` is what was made, in the answer. Without it the ERP is asked for it."""

    record: At | None = None


class FindPart(RequestPart):
    """What asks for orders by our ids, `most` of them at once; `absent` are statuses that say that there are none."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    most: int = Field(1, ge=1, le=100)
    records: At = JsonPlace("@")
    absent: list[int] = []


class ReadPart(RequestPart):
    """What asks for the whole of a record that `find` tells a part of."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    record: At = JsonPlace("@")


class ListPart(FindPart):
    """What asks for a page of orders by the time at which they were made; `cursor` is where its last one stands."""

    most: int = Field(100, ge=1, le=500)
    cursor: At


class StepPart(RequestPart):
    """What leads a record on from one of these states; `record` as in SendPart."""

    when: list[str] = Field(min_length=1)
    record: At | None = None


class LookUpPart(RequestPart):
    """What asks for what the ERP has under a name of the mapping; `found` is it, null where it has nothing."""

    method: Literal["GET", "POST", "PUT", "PATCH"] = "GET"
    found: At
    example: dict[str, Any]


class RecordPart(_Part):
    """Where things are in a record, and what its state means; without `state` a record is taken.

    `product` and what follows, but for `at`, are in each of its `lines`. `includes_back_ordered` says that `accepted`
    counts the back-ordered boxes too. `example` is one that is taken, as the ERP tells it.
    """

    order: At
    reference: At
    state: At | None = None
    taken: list[str] = []
    refused: list[str] = []
    words: At | None = None
    lines: At
    product: At
    accepted: At
    reason: At | None = None
    substitute: At | None = None
    back_ordered: At | None = None
    includes_back_ordered: bool = False
    expected: At | None = None
    at: At | None = None
    example: dict[str, Any]

    @model_validator(mode="after")
    def _whole(self) -> RecordPart:
        if self.state is not None and not self.taken:
            raise ValueError("`taken` must name the states in which an order is taken")
        if self.includes_back_ordered and self.back_ordered is None:
            raise ValueError("`includes_back_ordered` needs `back_ordered`")
        return self

    def optional(self) -> dict[str, JsonPlace]:
        """What the profile says of a line that it need not say, by its name."""
        said = {name: getattr(self, name) for name in ("reason", "substitute", "back_ordered", "expected")}
        return {name: place for name, place in said.items() if place is not None}


class AnswerRule(_Part):
    """What an answer with one of these statuses means, where `when` holds of its JSON and it `contains` a text."""

    status: list[int] = Field(min_length=1)
    when: At | None = None
    contains: str | None = None
    means: Means
    words: At | None = None


class SettingPart(_Part):
    """A setting that the profile asks for, with an example of it."""

    about: str
    example: str | int


class Profile(_Part):
    """A whole profile."""

    about: str
    proven: str
    unique_reference: bool = False
    mapped: bool = True
    auth: dict[str, Any] = {}
    settings: dict[str, SettingPart] = {}
    headers: dict[str, str] = {}
    look_up: dict[Literal["customer", "article"], LookUpPart] = {}
    send: SendPart
    record: RecordPart
    find: FindPart
    read: ReadPart | None = None
    listing: ListPart | None = Field(None, alias="list")
    step: list[StepPart] = []
    undo: RequestPart | None = None
    probe: FindPart
    answer: list[AnswerRule] = []

    @model_validator(mode="after")
    def _whole(self) -> Profile:
        if self.listing is not None and self.record.at is None:
            raise ValueError("`record.at` must say when a record was made, for `list`")
        if self.look_up and not self.mapped:
            raise ValueError("`look_up` needs the mapping: `mapped` must not be false")
        return self
