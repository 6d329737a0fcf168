"""The codes of the trade and their check digits: products (CIP13, CIP7, ACL13, UCD13), pharmacies (FINESS).

A product is always held as 13 digits, so that one box has one name: a CIP7 becomes the CIP13 that carries it.
A pharmacy is its FINESS number or the wholesaler's own customer code, and is kept exactly as it was sent.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from stdnum import ean, luhn

CUSTOMER_CODE = r"^[A-Za-z0-9._-]{1,32}$"

_SEVEN = re.compile(r"[0-9]{7}")
_THIRTEEN = re.compile(r"[0-9]{13}")
_FINESS = re.compile(r"[0-9]{9}|2[AB][0-9]{7}")
_CORSICA = str.maketrans("AB", "12")


class Family(StrEnum):
    """What a 13-digit product code names."""

    CIP13 = "CIP13"  # a box of a medicine: 34009, the CIP7, the check digit
    UCD13 = "UCD13"  # a unit that a hospital dispenses: 34008
    ACL13 = "ACL13"  # everything else on the shelf, devices to hygiene: 3401


_PREFIXES = {"3401": Family.ACL13, "34008": Family.UCD13, "3400": Family.CIP13}


def family(code: str) -> Family:
    """The family of a 13-digit code. ValueError says what is wrong: its digits, prefix or GS1 check digit."""
    if not _THIRTEEN.fullmatch(code):
        raise ValueError("must be 13 digits (CIP13, ACL13, UCD13) or the 7 of a CIP7")
    found = next((name for prefix, name in _PREFIXES.items() if code.startswith(prefix)), None)
    if found is None:
        raise ValueError("must begin with 3400 (CIP13, UCD13) or 3401 (ACL13)")
    if ean.calc_check_digit(code[:-1]) != code[-1]:
        raise ValueError("its check digit is wrong")
    return found


@lru_cache(maxsize=65_536)  # a wholesaler's 35,000 references fit; the check itself costs some microseconds
def product(code: str) -> str:
    """The 13 digits of a product given as CIP13, ACL13, UCD13 or CIP7. ValueError when it is none of them.

    A CIP7's own key is not looked at: it holds for some ranges only, and real products would be refused.
    """
    if _SEVEN.fullmatch(code):
        stem = "34009" + code
        return f"{stem}{ean.calc_check_digit(stem)}"
    family(code)
    return code


def looks_like_finess(code: str) -> bool:
    """True for nine digits, or 2A or 2B and seven: the shape of a FINESS number, whatever its key."""
    return _FINESS.fullmatch(code) is not None


def is_finess(code: str) -> bool:
    """True for a FINESS number with a right key: Luhn, where the A of 2A counts 1 and the B of 2B counts 2.

    A wrong key makes no order malformed: nine digits may be a customer code as well, and refusing them would
    turn away every order of that pharmacy for good. Whether a pharmacy is known is for the register to say.
    """
    return looks_like_finess(code) and luhn.is_valid(code.translate(_CORSICA))
