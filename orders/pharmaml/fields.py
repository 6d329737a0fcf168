"""The single fields of a message, each read strictly or refused in words that name it."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Final
from xml.etree.ElementTree import Element

from orders.pharmaml.messages import ENVELOPE, MOST_DETAIL, MOST_REFERENCE, NotUnderstood, Statut, shortened

BLANK: Final = " \t\r\n"

_NUMBER: Final = re.compile(r"\+?0*([0-9]{1,9})")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def refused(status: Statut, words: str) -> NotUnderstood:
    """To be raised, with words of the length that ERREUR takes."""
    return NotUnderstood(status, shortened(words, MOST_DETAIL))


def one(parent: Element, namespace: str, name: str) -> Element:
    """The child of that name; none or several are refused."""
    found = maybe(parent, namespace, name)
    if found is None:
        raise refused(_level(namespace), f"{name} manque")
    return found


def maybe(parent: Element, namespace: str, name: str) -> Element | None:
    """The child of that name, or None; several are refused."""
    found = parent.findall(f"{{{namespace}}}{name}")
    if len(found) > 1:
        raise refused(_level(namespace), f"{name} figure deux fois")
    return found[0] if found else None


def _level(namespace: str) -> Statut:
    return Statut.ENVELOPE if namespace == ENVELOPE else Statut.MESSAGE


def text(element: Element) -> str:
    """The words of an element that holds nothing else."""
    return (element.text or "").strip(BLANK)


def word(name: str, value: str, *, spaces: bool = False) -> str:
    """A reference or a code of 1 to 20 characters, `spaces` within it or not."""
    found = value.strip(BLANK)
    if not 1 <= len(found) <= MOST_REFERENCE or not found.isprintable() or (" " in found and not spaces):
        status = Statut.ENVELOPE if name in ("REF_MESSAGE", "Id") else Statut.MESSAGE
        raise refused(status, f"{name} : 1 à {MOST_REFERENCE} caractères attendus")
    return found


def number(element: Element, name: str, where: str, least: int = 1) -> int:
    """A whole number; "0002" is 2."""
    found = _NUMBER.fullmatch(element.get(name, "").strip(BLANK))
    if found is None or int(found[1]) < least:
        raise refused(Statut.MESSAGE, f"{where} : {name} doit être un entier d'au moins {least}")
    return int(found[1])


def boolean(element: Element, name: str, where: str, *, absent: bool) -> bool:
    """A boolean, or what its absence stands for."""
    value = element.get(name)
    if value is None:
        return absent
    if (found := _BOOLEANS.get(value.strip(BLANK))) is None:
        raise refused(Statut.MESSAGE, f"{where} : {name} doit être true ou false")
    return found


def day(value: str, name: str = "Date_livraison") -> date:
    """A date, which has no zone."""
    value = value.strip(BLANK)
    try:
        if _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:  # 30 February
        pass
    raise refused(Statut.MESSAGE, f"{name} : AAAA-MM-JJ attendu")


def moment(element: Element | None) -> datetime | None:
    """A message's date; nothing depends on it, so one that makes no sense is as good as none."""
    if element is None or not _MOMENT.fullmatch(value := text(element)):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None
