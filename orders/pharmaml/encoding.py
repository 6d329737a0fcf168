"""An envelope to bytes, as the v4.8 schemas order its elements and attributes."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from lxml import etree

from orders.pharmaml.messages import (
    ENVELOPE,
    MESSAGE,
    VERSION,
    Action,
    Commande,
    Content,
    Envelope,
    EnvelopeErreur,
    EnvelopeHead,
    Erreur,
    LigneCommande,
    Partner,
    RepCommande,
    ReplyLine,
    Shortage,
)
from orders.pharmaml.pieces import Pieces, each
from orders.pharmaml.safe_xml import write


def encode(envelope: Envelope, encoding: str) -> Pieces[bytes]:
    """The document, in UTF-8 or ISO-8859-1. Every text must be one that XML can hold (`safe_xml.writable`)."""
    head = envelope.head
    root = etree.Element(f"{{{ENVELOPE}}}CSRP_ENVELOPPE", nsmap={None: ENVELOPE})  # type: ignore[dict-item]
    _set(
        root,
        Nature_Action=head.nature,
        Version_Protocole=VERSION,
        Id_Logiciel=head.software,
        Version_Logiciel=head.software_version,
        Usage=head.usage,
    )
    _head(_add(root, ENVELOPE, "ENTETE"), head)
    yield from _content(_add(root, ENVELOPE, "CORPS"), envelope.content)
    return write(root, encoding)


def _head(entete: etree._Element, head: EnvelopeHead) -> None:
    _partner(_add(entete, ENVELOPE, "EMETTEUR"), head.sender)
    _partner(_add(entete, ENVELOPE, "RECEPTEUR"), head.recipient)
    _add(entete, ENVELOPE, "REF_MESSAGE").text = head.reference
    if head.answers is not None:
        _add(entete, ENVELOPE, "EN_REPONSE_A").text = head.answers
    _date(entete, ENVELOPE, head.date)


def _partner(element: etree._Element, partner: Partner) -> None:
    _set(element, Nature=partner.nature, Code=partner.code, Id=partner.id, Adresse=partner.address)


def _content(corps: etree._Element, content: Content) -> Pieces[None]:
    if isinstance(content, Action):
        _add(corps, ENVELOPE, "ACTION").text = content
    elif isinstance(content, EnvelopeErreur):
        _set(_add(corps, ENVELOPE, "ERREUR"), Description_libre=content.description)
    elif isinstance(content, Commande):
        yield from _commande(_message(corps, content, pharmacy=True), content)
    elif isinstance(content, RepCommande):
        yield from _rep_commande(_message(corps, content, pharmacy=False), content)
    else:
        erreur = _add(_message(corps, content, pharmacy=False), MESSAGE, "ERREUR")
        _set(erreur, Statut=f"{content.status:04d}", Detail=content.detail)


def _message(corps: etree._Element, content: Commande | RepCommande | Erreur, *, pharmacy: bool) -> etree._Element:
    """The CORPS of a new MESSAGE_OFFICINE or MESSAGE_REPARTITEUR."""
    name = "MESSAGE_OFFICINE" if pharmacy else "MESSAGE_REPARTITEUR"
    message = etree.SubElement(corps, f"{{{MESSAGE}}}{name}", nsmap={None: MESSAGE})  # type: ignore[dict-item]
    entete = _add(message, MESSAGE, "ENTETE")
    emetteur, destinataire = _add(entete, MESSAGE, "EMETTEUR"), _add(entete, MESSAGE, "DESTINATAIRE")
    officine, repartiteur = (emetteur, destinataire) if pharmacy else (destinataire, emetteur)
    _set(officine, Nature_Partenaire="OF", Id_Client=content.client)
    code, company = content.company
    _set(repartiteur, Nature_Partenaire="RE", Code_Societe=code, Id_Societe=company)
    _date(entete, MESSAGE, None if isinstance(content, Erreur) else content.date)
    return _add(message, MESSAGE, "CORPS")


def _commande(corps: etree._Element, order: Commande) -> Pieces[None]:
    element = _add(corps, MESSAGE, "COMMANDE")
    delivery = None if order.delivery is None else order.delivery.isoformat()
    _set(
        element,
        Ref_Cde_Client=order.reference,
        Date_livraison=delivery,
        Commentaire_General=order.comment,
        Commentaire_Livraison=order.delivery_comment,
    )
    normale = _add(element, MESSAGE, "NORMALE")
    yield from each(partial(_line, normale), order.lines)


def _line(normale: etree._Element, line: LigneCommande) -> None:
    _set(
        _add(normale, MESSAGE, "LIGNE_N"),
        Num_Ligne=f"{line.number:04d}",
        Type_Codification=line.codification,
        Code_Produit=line.code,
        Designation=line.designation,
        Quantite=f"{line.quantity:04d}",
        Commentaire_Produit=line.comment,
        Partielle=_boolean(line.partial),
        Reliquat=_boolean(line.backorder),
        Equivalent=_boolean(line.equivalent),
    )


def _rep_commande(corps: etree._Element, reply: RepCommande) -> Pieces[None]:
    element = _add(corps, MESSAGE, "REP_COMMANDE")
    _set(element, Ref_Cde_Client=reply.reference, Ref_Rep_Repartiteur=reply.own)
    normale = _add(element, MESSAGE, "NORMALE")
    yield from each(partial(_reply_line, normale), reply.lines)


def _reply_line(normale: etree._Element, line: ReplyLine) -> None:
    element = _add(normale, MESSAGE, "LIGNE_N")
    _set(
        element,
        Num_Ligne=str(line.number),
        Num_Ligne_Commande=str(line.ordered),
        Type_Codification=line.codification,
        Code_Produit=line.code,
        Quantite_livree=str(line.delivered),
        Commentaire=line.comment,
    )
    if line.shortage is not None:
        _shortage(_add(element, MESSAGE, "INDISPONIBILITE_N"), line.shortage)


def _shortage(missing: etree._Element, shortage: Shortage) -> None:
    _set(missing, Code_Reponse=f"{shortage.code:04d}", Additif=shortage.words)
    if (awaited := shortage.awaited) is not None:
        day = None if awaited.day is None else awaited.day.isoformat()
        boxes = None if awaited.boxes is None else str(awaited.boxes)
        _set(_add(missing, MESSAGE, "INFOS_DISPO"), Date=day, Quantite=boxes)
    if (other := shortage.replacement) is not None:
        _set(
            _add(missing, MESSAGE, "PRODUIT_REMPLACANT"),
            Type_Remplacement=other.kind,
            Type_Codification=other.codification,
            Code_Produit=other.code,
        )


def _add(parent: etree._Element, namespace: str, name: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{namespace}}}{name}")


def _set(element: etree._Element, **attributes: str | None) -> None:
    for name, value in attributes.items():
        if value is not None:
            element.set(name, value)


def _date(entete: etree._Element, namespace: str, date: datetime | None) -> None:
    if date is not None:
        _add(entete, namespace, "DATE").text = date.isoformat(timespec="seconds")


def _boolean(value: bool) -> str:
    return "true" if value else "false"
