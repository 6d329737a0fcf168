"""A column that holds a sentence: JSON in the journal, a `Sentence` here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from orders.sentences import Sentence, sentence_of


class SentenceColumn(TypeDecorator[Sentence]):
    """Code and parameters; NULL for None."""

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: Sentence | None, dialect: Dialect) -> Any:
        return None if value is None else value.stored()

    def process_result_value(self, value: Any, dialect: Dialect) -> Sentence | None:
        return sentence_of(value)
