"""What of a free text is Relais's own: its constant phrases, and nothing else.

An order's note may name a patient, and an ERP may repeat it in any answer. So where everybody looks, of what came from
outside only a phrase that stands in our own table is shown, up to its colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from orders.sentences import Sentence, sentence_of
from workers.erp.failures import TABLE

UNSETTLED: Final = "the worker did not settle in time"
WORKER_DIED: Final = "the worker that had it died"
FORGOTTEN: Final = "the ERP took it and has forgotten it"
NOT_YET: Final = "not with the ERP, which is not believed before"
SENT_AGAIN: Final = "the ERP has forgotten it"  # and an operator sends it again
OURS: Final = frozenset(failure.says for failure in TABLE.values()) | {
    "not with the ERP",
    UNSETTLED,
    WORKER_DIED,
    FORGOTTEN,
    SENT_AGAIN,
    "the batch's budget ran out",
    "the batch was stopped or its budget ran out",
    "the receipt's reference is another order's",
    "answered in quarantine, which counts as unknown",
    "released from quarantine",
    "failures in a row",
}
GIVEN: Final = frozenset({"reference", "product", "was", "was_product"})  # parameters that an ERP may have written
PLAIN: Final = re.compile(r"[\w./-]{1,64}")  # what is shown of these
PENDING: Final = re.compile(r"pending as [A-Za-z0-9._/-]{1,64}")  # the ERP's reference
NOT_BEFORE: Final = re.compile(rf"{NOT_YET} [0-9: Z-]{{20}}")
# Names, in what an act is recorded with, of what others wrote.
FOREIGN: Final = frozenset({"answer", "comment", "detail", "error", "held_why", "note", "raw"})

PHARMAML: Final = re.compile(r"000[1-7](?:\s+|$)")  # as an ERP may begin a line's reason: docs/erp-contract.md

TRADE: Final = frozenset(
    {  # what an ERP says of a line that it does not deliver as ordered; PharmaML's codes among them
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "unknown",
        "unknown product",
        "out of stock",
        "discontinued",
        "recalled",
        "not authorised",
        "quota",
        "limited",
        "rupture",
        "rupture de stock",
        "manque fabricant",
        "manque en rayon",
        "manque rayon",
        "back-ordered",
        "on back-order",
        "en reliquat",
        "reliquat",
        "replaced",
        "remplacé",
        "produit remplacé",
        "supprimé",
        "produit supprimé",
        "inconnu",
        "produit inconnu",
        "arrêté",
        "retiré",
        "rappel",
        "rappel de lot",
        "non autorisé",
        "contingenté",
        "contingentement",
        "en rupture",
        "manquant",
        "indisponible",
        "unavailable",
        "withdrawn",
    }
)


def is_trade(reason: str) -> bool:
    """Whether this is a word of the trade for a line that is not as ordered, behind a code of PharmaML's or not."""
    told = reason.strip().lower().replace("_", " ")
    code = PHARMAML.match(told)
    return told in TRADE if code is None else told[code.end() :] in {"", *TRADE}


def own_words(text: str) -> str:
    """The text where it is all ours, else the phrase of ours that it begins with, else nothing."""
    if text in OURS or PENDING.fullmatch(text) or NOT_BEFORE.fullmatch(text):
        return text
    ends = (found.start() for found in re.finditer(": ", text))
    return next((text[:end] for end in ends if text[:end] in OURS), "")


def masked(kept: Any) -> Sentence | None:
    """A sentence, or what the journal keeps of one; of an ERP's words only what is ours."""
    found = sentence_of(kept)
    return found and Sentence(found.code, **{name: _param(name, value) for name, value in found.params.items()})


def masked_detail(detail: Mapping[str, Any]) -> dict[str, Any]:
    """What an act is recorded with, without what others wrote."""
    return {name: _value(name, value) for name, value in detail.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        sentence = masked(value) if "code" in value else None
        return masked_detail(value) if sentence is None else sentence.stored()
    if isinstance(value, list):
        return [_value(name, each) for each in value]
    return _marked(value) if name in FOREIGN and isinstance(value, str) else value


def _param(name: str, value: Any) -> Any:
    if name == "detail":
        return _marked(value)
    if name in GIVEN and isinstance(value, str) and not PLAIN.fullmatch(value):
        return "…"
    return masked(value) if isinstance(value, Sentence) else value


def _marked(text: str) -> str:
    own = own_words(text)
    return own if own == text else f"{own}: …" if own else "…"
