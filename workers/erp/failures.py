"""One table for everything that can go wrong between Relais and an ERP, and what it says about the order.

The only question is whether the ERP may have taken the order. Before any of it was handed to the network it surely
has not; after that only the contract's own words say so (docs/erp-contract.md), and all else is unknown. What no fit
ERP answers is suspicious: it stops the batch and opens the circuit; what proves more than that is evidence, which
quarantines the backend.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

import aiohttp

from workers.erp.port import Evidence, Kind

BRIEF: Final = 2.0  # seconds of Retry-After that a try inside an attempt waits for
MOST_WORDS: Final = 300  # characters of the ERP's own that are kept


class Again(Enum):
    """Whether a failure may be followed by another try inside the same attempt."""

    NEVER = "never"
    BRIEFLY = "unless the ERP asks for a longer pause than BRIEF"
    IF_ASKED = "if the ERP asks for a pause of at most BRIEF"
    IF_IDEMPOTENT = "if the ERP honours the key"


class Met(StrEnum):
    """What can be met other than an answer by the contract; an HTTP status is its own name, as `503` or `5xx`."""

    HELD = "held"
    BAD_URL = "bad url"
    DNS = "dns"
    REFUSED = "connection refused"
    TLS = "tls"
    WRONG_CERTIFICATE = "wrong certificate"
    OUR_CERTIFICATE = "our certificate refused"
    NO_CREDENTIALS = "no credentials"
    CONNECT_TIMEOUT = "connect timeout"
    RESET_BEFORE = "reset before sending"
    RESET_AFTER = "reset after sending"
    READ_TIMEOUT = "read timeout"
    TRUNCATED = "truncated"
    NOT_HTTP = "not http"
    OVERSIZED = "oversized"
    WRONG_TYPE = "wrong content type"
    UNPARSABLE = "unparsable"
    WRONG_DIGEST = "wrong digest"
    WRONG_LINES = "wrong lines"
    MISSING_SIGNATURE = "missing signature"
    BAD_SIGNATURE = "bad signature"
    UNKNOWN_KEY = "unknown key"
    UNTIMELY = "untimely"
    UNSENT_ORDER = "order never sent"
    WORDLESS = "refusal without words"
    UNFORESEEN = "unforeseen"


@dataclass(frozen=True, slots=True)
class Failure:
    """What one failure says of the order, in a kind and in words, whether it may be tried again at once, and what it
    proves against the backend.
    """

    kind: Kind
    says: str
    again: Again = Again.NEVER
    evidence: Evidence | None = None


def _proof(says: str, evidence: Evidence) -> Failure:
    return Failure(Kind.SUSPICIOUS, says, evidence=evidence)


_MISCONFIGURED = Failure(Kind.TRANSIENT, "the backend is misconfigured, no fault of the order")

TABLE: Final[Mapping[str, Failure]] = {
    Met.HELD: Failure(Kind.UNSENT, "the backend was put on hold before anything was sent"),
    Met.BAD_URL: Failure(Kind.TRANSIENT, "the ERP's address cannot be used"),
    Met.DNS: Failure(Kind.TRANSIENT, "the ERP's name cannot be resolved"),
    Met.REFUSED: Failure(Kind.TRANSIENT, "no connection to the ERP", Again.BRIEFLY),
    Met.TLS: Failure(Kind.TRANSIENT, "no TLS with the ERP, nothing was sent"),
    Met.WRONG_CERTIFICATE: _proof("another certificate than the pinned one", Evidence.WRONG_CERTIFICATE),
    Met.OUR_CERTIFICATE: Failure(Kind.TRANSIENT, "the ERP does not take our certificate, and took nothing else"),
    Met.NO_CREDENTIALS: Failure(Kind.TRANSIENT, "no credentials to show, nothing was sent"),
    Met.CONNECT_TIMEOUT: Failure(Kind.TRANSIENT, "no connection in time, nothing was sent"),
    Met.RESET_BEFORE: Failure(Kind.TRANSIENT, "the connection broke before anything was sent", Again.BRIEFLY),
    Met.RESET_AFTER: Failure(Kind.UNKNOWN, "the connection broke after sending", Again.IF_IDEMPOTENT),
    Met.READ_TIMEOUT: Failure(Kind.UNKNOWN, "no answer in time"),
    Met.TRUNCATED: Failure(Kind.UNKNOWN, "the answer broke off", Again.IF_IDEMPOTENT),
    Met.NOT_HTTP: Failure(Kind.SUSPICIOUS, "the answer is not HTTP"),
    Met.OVERSIZED: Failure(Kind.SUSPICIOUS, "the answer is larger than any may be"),
    Met.WRONG_TYPE: Failure(Kind.SUSPICIOUS, "the answer is not JSON by its content type"),
    Met.UNPARSABLE: Failure(Kind.SUSPICIOUS, "the answer is none that the contract knows"),
    Met.WRONG_DIGEST: _proof("the receipt is for other bytes than were sent", Evidence.WRONG_DIGEST),
    Met.WRONG_LINES: _proof("the receipt is for other lines than were ordered", Evidence.WRONG_LINES),
    Met.MISSING_SIGNATURE: _proof("the receipt is not signed, and must be", Evidence.MISSING_SIGNATURE),
    Met.BAD_SIGNATURE: _proof("the receipt's signature is not good", Evidence.BAD_SIGNATURE),
    Met.UNKNOWN_KEY: _proof("the receipt is signed with no key of this backend in force", Evidence.UNKNOWN_KEY),
    Met.UNTIMELY: _proof("the receipt was signed at a time that cannot be", Evidence.LATE_OR_EARLY),
    Met.UNSENT_ORDER: _proof("the answer is about another order", Evidence.UNSENT_ORDER),
    Met.WORDLESS: Failure(Kind.TRANSIENT, "refused, but not in the contract's words: perhaps by a proxy"),
    Met.UNFORESEEN: Failure(Kind.UNKNOWN, "something that was not foreseen"),
    "1xx": Failure(Kind.SUSPICIOUS, "the ERP speaks another protocol"),
    "2xx": Failure(Kind.SUSPICIOUS, "success, but none that the contract knows"),
    "3xx": Failure(Kind.SUSPICIOUS, "orders are sent elsewhere"),
    **dict.fromkeys(
        ("401", "402", "403", "404", "405", "406", "407", "410", "411", "415", "421", "426", "431", "501"),
        _MISCONFIGURED,
    ),
    "408": Failure(Kind.TRANSIENT, "the ERP did not get the whole order in its time"),
    "409": Failure(Kind.SUSPICIOUS, "the ERP has other content under this order's key"),
    "425": Failure(Kind.TRANSIENT, "the ERP will not take it yet"),
    "429": Failure(Kind.THROTTLED, "the ERP asks for a pause", Again.IF_ASKED),
    "4xx": Failure(Kind.REFUSED, "the ERP refuses the order"),
    "503": Failure(Kind.TRANSIENT, "the ERP is out of service", Again.BRIEFLY),
    "5xx": Failure(Kind.UNKNOWN, "the ERP or a proxy failed after the order was sent"),
}

_ERRORS: Final[tuple[tuple[tuple[type[Exception], ...], Met, Met], ...]] = (  # before and after sending
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), Met.BAD_URL, Met.BAD_URL),
    ((aiohttp.ConnectionTimeoutError,), Met.CONNECT_TIMEOUT, Met.CONNECT_TIMEOUT),
    ((aiohttp.ClientConnectorDNSError,), Met.DNS, Met.DNS),
    ((aiohttp.ClientSSLError,), Met.TLS, Met.TLS),
    ((aiohttp.ClientConnectorError,), Met.REFUSED, Met.REFUSED),
    ((ssl.SSLError,), Met.TLS, Met.RESET_AFTER),
    ((TimeoutError,), Met.CONNECT_TIMEOUT, Met.READ_TIMEOUT),
    ((aiohttp.ClientPayloadError,), Met.TRUNCATED, Met.TRUNCATED),
    ((aiohttp.ClientResponseError,), Met.NOT_HTTP, Met.NOT_HTTP),
    ((aiohttp.ClientConnectionError, OSError), Met.RESET_BEFORE, Met.RESET_AFTER),
)


# Alerts with which a server ends a handshake over our certificate (RFC 8446, 6.2): with TLS 1.3 they come after the
# request was sent, which it then has not read.
_OUR_CERTIFICATE: Final = frozenset(
    f"{version}_ALERT_{name}"
    for version in ("SSLV3", "TLSV1", "TLSV13")
    for name in (
        "BAD_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REQUIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "UNSUPPORTED_CERTIFICATE",
    )
)


class Unfit(Exception):
    """An answer that cannot be taken as it is: what was `met`, what exactly, and its bytes where they are known."""

    def __init__(self, met: Met, detail: str, answer: bytes = b"") -> None:
        super().__init__(detail)
        self.met, self.detail, self.answer = met, detail, answer


def of_status(status: int) -> Failure:
    """The failure that an HTTP status is, when it is no success of the contract's."""
    return TABLE.get(str(status)) or TABLE.get(f"{status // 100}xx") or TABLE[Met.NOT_HTTP]


def of_error(error: Exception, sent: bool) -> tuple[Failure, str]:
    """The failure that an exception is, in words too; `sent` when any of the request was handed to the network."""
    if isinstance(error, Unfit):
        return TABLE[error.met], f"{TABLE[error.met].says}: {error.detail}"
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        failure = TABLE[Met.WRONG_CERTIFICATE]
        return failure, f"{failure.says}: {error.got.hex()}"
    if _our_certificate(error):
        return TABLE[Met.OUR_CERTIFICATE], TABLE[Met.OUR_CERTIFICATE].says
    for classes, before, after in _ERRORS:
        if isinstance(error, classes):
            failure = TABLE[after if sent else before]
            return failure, failure.says
    return TABLE[Met.UNFORESEEN], f"{TABLE[Met.UNFORESEEN].says}: {type(error).__name__}"


def _our_certificate(error: BaseException | None) -> bool:
    """Whether it comes of an alert over our certificate."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and getattr(error, "reason", None) in _OUR_CERTIFICATE:
            return True
        error = error.__cause__ or error.__context__
    return False


def may_go_again(failure: Failure, asked: float | None, *, idempotent: bool) -> bool:
    """Whether another try inside the same attempt does no harm and may help; `asked` is the ERP's pause, seconds."""
    match failure.again:
        case Again.BRIEFLY:
            return asked is None or asked <= BRIEF
        case Again.IF_ASKED:
            return asked is not None and asked <= BRIEF
        case Again.IF_IDEMPOTENT:
            return idempotent
        case Again.NEVER:
            return False


def printable(words: str) -> str:
    """The ERP's own words as one line that any log and any journal can hold."""
    return "".join(c if c.isprintable() else " " for c in words[:MOST_WORDS]).strip()
