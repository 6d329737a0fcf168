"""What a PharmaML envelope can hold, as plain values; reading and writing them is `decoding` and `encoding`.

The names of elements, attributes and codes are the protocol's, bounds those of the v4.8 schemas. Times have no zone,
so they are naive here and nothing is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import Final

from orders.errors import RelaisError

VERSION: Final = "1.0.0.0"
ENVELOPE: Final = "urn:x-csrp:fr.csrp.protocole:enveloppe"
MESSAGE: Final = "urn:x-csrp:fr.csrp.protocole:message"
MOST_DETAIL: Final = 128  # characters of ERREUR's words
MOST_ADDITIF: Final = 50  # characters of why a line is short
MOST_REFERENCE: Final = 20  # characters of REF_MESSAGE, Ref_Cde_Client, Id


class Nature(StrEnum):
    """Who speaks in which exchange; the pharmacy always calls."""

    REQ_EMISSION = "REQ_EMISSION"
    REP_EMISSION = "REP_EMISSION"
    REQ_RECEPTION = "REQ_RECEPTION"
    REP_RECEPTION = "REP_RECEPTION"


class Action(StrEnum):
    """ACQUITTEMENT: your message is taken. VIDAGE: empty my deposit. FIN_SERVICE: received, no more for now."""

    ACQUITTEMENT = "ACQUITTEMENT"
    VIDAGE = "VIDAGE"
    FIN_SERVICE = "FIN_SERVICE"


class Codification(StrEnum):
    """How a product is named: CIP39 carries the 7 digits, SPECIALE is the wholesaler's own, CLAIR is words."""

    EAN13 = "EAN13"
    CIP39 = "CIP39"
    SPECIALE = "SPECIALE"
    CLAIR = "CLAIR"


class TypeRemplacement(StrEnum):
    """What a PRODUIT_REMPLACANT is: one that replaces it, or an equivalent, that is delivered; one that is proposed."""

    RL = "RL"
    EL = "EL"
    EP = "EP"


class Statut(IntEnum):
    """ERREUR's codes: the protocol's below 1000, ours from there on."""

    ENVELOPE = 1
    MESSAGE = 2
    VERSION = 3
    SENDER = 4
    SERVICE = 6
    REFERENCE = 10
    CONTROL = 11
    NOT_ALLOWED = 102
    REUSED = 1001  # this Ref_Cde_Client was used for another order
    TEST = 1002  # Usage is not P: nothing is ordered by a test


@dataclass(frozen=True, slots=True)
class Partner:
    """EMETTEUR or RECEPTEUR of an envelope."""

    nature: str  # OF, a pharmacy, or RE, a wholesaler
    code: str
    id: str
    address: str


@dataclass(frozen=True, slots=True)
class EnvelopeHead:
    """An envelope but for its content; `reference` is REF_MESSAGE, `answers` is EN_REPONSE_A."""

    nature: Nature
    sender: Partner
    recipient: Partner
    reference: str
    answers: str | None = None
    date: datetime | None = None
    software: str = "Relais"
    software_version: str = "1"
    usage: str = "P"


@dataclass(frozen=True, slots=True)
class LigneCommande:
    """LIGNE_N of an order; quantity in boxes. Defaults are the schema's."""

    number: int
    codification: Codification
    code: str
    quantity: int
    designation: str | None = None
    comment: str | None = None
    partial: bool = True
    backorder: bool = False
    equivalent: bool = False


@dataclass(frozen=True, slots=True)
class Commande:
    """COMMANDE/NORMALE of a MESSAGE_OFFICINE; `client` is Id_Client, `company` Code_Societe and Id_Societe."""

    client: str
    company: tuple[str, str]
    reference: str
    lines: tuple[LigneCommande, ...]
    delivery: date | None = None
    comment: str | None = None
    delivery_comment: str | None = None
    date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Awaited:
    """INFOS_DISPO: the boxes that come later, and the day, as far as they are told."""

    boxes: int | None
    day: date | None


@dataclass(frozen=True, slots=True)
class Replacement:
    """PRODUIT_REMPLACANT."""

    kind: TypeRemplacement
    codification: Codification
    code: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """INDISPONIBILITE_N: Code_Reponse (1 to 7 the protocol's, from 1000 the wholesaler's own) and Additif; what is
    awaited, and what is delivered in its place.
    """

    code: int
    words: str
    awaited: Awaited | None = None
    replacement: Replacement | None = None


@dataclass(frozen=True, slots=True)
class ReplyLine:
    """LIGNE_N of a reply; `ordered` is Num_Ligne_Commande, `delivered` is in boxes of the product that was ordered."""

    number: int
    ordered: int
    codification: Codification
    code: str
    delivered: int
    shortage: Shortage | None = None
    comment: str | None = None


@dataclass(frozen=True, slots=True)
class RepCommande:
    """REP_COMMANDE/NORMALE of a MESSAGE_REPARTITEUR; `own` is Ref_Rep_Repartiteur, the wholesaler's reference."""

    client: str
    company: tuple[str, str]
    reference: str
    lines: tuple[ReplyLine, ...]
    own: str | None = None
    date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Erreur:
    """ERREUR of a MESSAGE_REPARTITEUR: Statut (1 to 9999) and Detail."""

    client: str
    company: tuple[str, str]
    status: int
    detail: str


@dataclass(frozen=True, slots=True)
class EnvelopeErreur:
    """ERREUR of the envelope itself, Description_libre, where no message could be read."""

    description: str


Content = Action | Commande | RepCommande | Erreur | EnvelopeErreur


@dataclass(frozen=True, slots=True)
class Envelope:
    """A whole message."""

    head: EnvelopeHead
    content: Content


class NotUnderstood(RelaisError):
    """What came is no message that can be acted on: the code and the words of the ERREUR; `head` if it was read."""

    def __init__(self, status: Statut, detail: str, head: EnvelopeHead | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.head = status, detail, head


def shortened(words: str, most: int) -> str:
    """Words within so many characters; what is missing at the end shows."""
    return words if len(words) <= most else words[: most - 1] + "\u2026"
