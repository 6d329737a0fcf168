"""Bytes to an envelope. Any bytes at all give an Envelope or NotUnderstood, never anything else.

Strict where an order depends on it (who, which reference, which lines), lenient where nothing does: the names of
software, addresses and dates of messages. What can be read in two ways, such as two CORPS, is refused.
"""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element

from orders.pharmaml.fields import BLANK, boolean, day, maybe, moment, number, one, refused, text, word
from orders.pharmaml.messages import (
    ENVELOPE,
    MESSAGE,
    MOST_REFERENCE,
    Action,
    Awaited,
    Codification,
    Commande,
    Content,
    Envelope,
    EnvelopeErreur,
    EnvelopeHead,
    Erreur,
    LigneCommande,
    Nature,
    NotUnderstood,
    Partner,
    RepCommande,
    Replacement,
    ReplyLine,
    Shortage,
    Statut,
    TypeRemplacement,
)
from orders.pharmaml.pieces import Pieces, each
from orders.pharmaml.safe_xml import read


def decode(raw: bytes, encoding: str) -> Pieces[Envelope]:
    """The envelope in a document of this encoding. Raises NotUnderstood, with the head where it could be read."""
    root = yield from read(raw, encoding)
    _check_root(root)
    head = _head(root)
    try:
        return Envelope(head, (yield from _content(one(root, ENVELOPE, "CORPS"))))
    except NotUnderstood as error:
        raise NotUnderstood(error.status, error.detail, head) from None


def _check_root(root: Element) -> None:
    if _localname(root) == "SRP_ENVELOPPE":
        raise refused(Statut.VERSION, "SRP_ENVELOPPE (version 3) non prise en charge : CSRP_ENVELOPPE 1.0.0.0 attendue")
    if root.tag != f"{{{ENVELOPE}}}CSRP_ENVELOPPE":
        raise refused(Statut.ENVELOPE, f"CSRP_ENVELOPPE de l'espace de noms {ENVELOPE} attendue")
    if not root.get("Version_Protocole", "").strip(BLANK).startswith("1."):
        raise refused(Statut.VERSION, "Version_Protocole non prise en charge : 1.0.0.0 attendue")


def _localname(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _head(root: Element) -> EnvelopeHead:
    entete = one(root, ENVELOPE, "ENTETE")
    answers = maybe(entete, ENVELOPE, "EN_REPONSE_A")
    try:
        nature = Nature(root.get("Nature_Action", "").strip(BLANK))
    except ValueError:
        raise refused(Statut.ENVELOPE, "Nature_Action inconnue") from None
    return EnvelopeHead(
        nature=nature,
        sender=_partner(one(entete, ENVELOPE, "EMETTEUR")),
        recipient=_partner(one(entete, ENVELOPE, "RECEPTEUR")),
        reference=word("REF_MESSAGE", text(one(entete, ENVELOPE, "REF_MESSAGE")), spaces=True),
        answers=None if answers is None else text(answers)[:MOST_REFERENCE] or None,
        date=moment(maybe(entete, ENVELOPE, "DATE")),
        software=root.get("Id_Logiciel", ""),
        software_version=root.get("Version_Logiciel", ""),
        usage=root.get("Usage", "").strip(BLANK),
    )


def _partner(element: Element) -> Partner:
    code = element.get("Code", "00").strip(BLANK)
    nature = element.get("Nature", "").strip(BLANK)
    return Partner(nature, code, word("Id", element.get("Id", "")), element.get("Adresse", ""))


def _content(corps: Element) -> Pieces[Content]:
    if len(corps) != 1:
        raise refused(Statut.ENVELOPE, "CORPS doit contenir un seul élément")
    element = corps[0]
    if element.tag == f"{{{ENVELOPE}}}ACTION":
        try:
            return Action(text(element))
        except ValueError:
            raise refused(Statut.SERVICE, "ACTION inconnue") from None
    if element.tag == f"{{{ENVELOPE}}}ERREUR":
        return EnvelopeErreur(element.get("Description_libre", ""))
    if element.tag in (f"{{{MESSAGE}}}MESSAGE_OFFICINE", f"{{{MESSAGE}}}MESSAGE_REPARTITEUR"):
        return (yield from _message(element, pharmacy=element.tag.endswith("OFFICINE")))
    raise refused(Statut.MESSAGE, f"MESSAGE_OFFICINE de l'espace de noms {MESSAGE} attendu")


def _message(message: Element, *, pharmacy: bool) -> Pieces[Content]:
    entete, corps = one(message, MESSAGE, "ENTETE"), one(message, MESSAGE, "CORPS")
    if len(corps) != 1:
        raise refused(Statut.MESSAGE, "CORPS du message doit contenir un seul élément")
    emetteur, destinataire = one(entete, MESSAGE, "EMETTEUR"), one(entete, MESSAGE, "DESTINATAIRE")
    officine, repartiteur = (emetteur, destinataire) if pharmacy else (destinataire, emetteur)
    client = word("Id_Client", officine.get("Id_Client", ""))
    company = (repartiteur.get("Code_Societe", ""), repartiteur.get("Id_Societe", ""))
    sent = moment(maybe(entete, MESSAGE, "DATE"))
    element = corps[0]
    if element.tag == f"{{{MESSAGE}}}COMMANDE" and pharmacy:
        return replace((yield from _commande(element, client, company)), date=sent)
    if element.tag == f"{{{MESSAGE}}}REP_COMMANDE" and not pharmacy:
        return replace((yield from _rep_commande(element, client, company)), date=sent)
    if element.tag == f"{{{MESSAGE}}}ERREUR" and not pharmacy:
        return Erreur(client, company, number(element, "Statut", "ERREUR"), element.get("Detail", ""))
    raise refused(Statut.SERVICE, "Message non pris en charge : seules les commandes le sont")


def _commande(element: Element, client: str, company: tuple[str, str]) -> Pieces[Commande]:
    wanted = element.get("Date_livraison")
    return Commande(
        client=client,
        company=company,
        reference=word("Ref_Cde_Client", element.get("Ref_Cde_Client", "")),
        lines=tuple((yield from each(_line, _lines(element)))),
        delivery=None if wanted is None else day(wanted),
        comment=element.get("Commentaire_General"),
        delivery_comment=element.get("Commentaire_Livraison"),
    )


def _lines(element: Element) -> list[Element]:
    """The lines of NORMALE, the one kind of order that is taken."""
    kinds = [_localname(child) for child in element]
    if kinds in (["SPECIALE"], ["PACKAGE"]):
        raise refused(Statut.SERVICE, f"Commande {kinds[0]} non prise en charge : seule NORMALE l'est")
    if kinds != ["NORMALE"]:
        raise refused(Statut.MESSAGE, "La commande doit contenir NORMALE et rien d'autre")
    lines = list(one(element, MESSAGE, "NORMALE"))
    if not lines or any(line.tag != f"{{{MESSAGE}}}LIGNE_N" for line in lines):
        raise refused(Statut.MESSAGE, "NORMALE doit contenir des LIGNE_N et rien d'autre")
    return lines


def _line(element: Element) -> LigneCommande:
    numbered = number(element, "Num_Ligne", "LIGNE_N")
    where = f"Ligne {numbered}"
    codification, code = _product(element, where)
    return LigneCommande(
        number=numbered,
        codification=codification,
        code=code,
        quantity=number(element, "Quantite", where),
        designation=element.get("Designation"),
        comment=element.get("Commentaire_Produit"),
        partial=boolean(element, "Partielle", where, absent=True),
        backorder=boolean(element, "Reliquat", where, absent=False),
        equivalent=boolean(element, "Equivalent", where, absent=False),
    )


def _rep_commande(element: Element, client: str, company: tuple[str, str]) -> Pieces[RepCommande]:
    own = element.get("Ref_Rep_Repartiteur")
    reference = word("Ref_Cde_Client", element.get("Ref_Cde_Client", ""))
    lines = tuple((yield from each(_reply_line, _lines(element))))
    return RepCommande(client, company, reference, lines, own)


def _reply_line(element: Element) -> ReplyLine:
    numbered = number(element, "Num_Ligne", "LIGNE_N")
    where = f"Ligne {numbered}"
    codification, code = _product(element, where)
    missing = maybe(element, MESSAGE, "INDISPONIBILITE_N")
    return ReplyLine(
        number=numbered,
        ordered=number(element, "Num_Ligne_Commande", where),
        codification=codification,
        code=code,
        delivered=number(element, "Quantite_livree", where, least=0),
        shortage=None if missing is None else _shortage(missing, where),
        comment=element.get("Commentaire"),
    )


def _shortage(element: Element, where: str) -> Shortage:
    awaited, other = maybe(element, MESSAGE, "INFOS_DISPO"), maybe(element, MESSAGE, "PRODUIT_REMPLACANT")
    return Shortage(
        number(element, "Code_Reponse", where),
        element.get("Additif", ""),
        None if awaited is None else _awaited(awaited, where),
        None if other is None else _replacement(other, where),
    )


def _awaited(element: Element, where: str) -> Awaited:
    told = element.get("Date")
    boxes = None if element.get("Quantite") is None else number(element, "Quantite", where)
    return Awaited(boxes, None if told is None else day(told, "Date"))


def _replacement(element: Element, where: str) -> Replacement:
    try:
        kind = TypeRemplacement(element.get("Type_Remplacement", "").strip(BLANK))
    except ValueError:
        raise refused(Statut.MESSAGE, f"{where} : Type_Remplacement inconnu") from None
    return Replacement(kind, *_product(element, where))


def _product(element: Element, where: str) -> tuple[Codification, str]:
    try:
        codification = Codification(element.get("Type_Codification", "").strip(BLANK))
    except ValueError:
        raise refused(Statut.MESSAGE, f"{where} : Type_Codification inconnu") from None
    return codification, word(f"{where} : Code_Produit", element.get("Code_Produit", ""))
