"""What SAP's errors say of an order. The envelopes are those that SAP's own papers show; docs/odata.md names them."""

import json
from typing import Any

import pytest

from workers.erp.odata.errors import MOST_DETAILS, failed, read
from workers.erp.port import Kind


def envelope(code: str, words: str, *details: dict[str, Any]) -> bytes:
    """As SAP Gateway writes it (SAP Help, "Error Response"; SAP community, "Error messages in the PR OData API")."""
    inner = {
        "application": {
            "component_id": "SD-SLS-API",
            "service_namespace": "/SAP/",
            "service_id": "API_SALES_ORDER_SRV",
        },
        "transactionid": "4FDF3748112322F4E10000000A420C41",
        "timestamp": "20241019203030.3885560",
        "Error_Resolution": {"SAP_Transaction": "", "SAP_Note": "See SAP Note 1797736 for error analysis"},
        "errordetails": [{"severity": "error", "propertyref": "", "target": "", **each} for each in details],
    }
    return json.dumps(
        {"error": {"code": code, "message": {"lang": "en", "value": words}, "innererror": inner}}
    ).encode()


REFUSED = envelope("V1/312", "Material TG11 is not defined for sales org. 1710", {"code": "V1/312", "message": "No"})
LOCKED = envelope("V1/042", "Sales document 4711 is currently being processed", {"code": "V1/042", "message": "x"})


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind"),
    [
        (400, {}, REFUSED, Kind.REFUSED),
        (422, {}, REFUSED, Kind.REFUSED),
        (400, {}, LOCKED, Kind.TRANSIENT),
        (400, {}, envelope("/IWBEP/CX_MGW_BUSI_EXCEPTION", "Customer 1 is locked by user SMITH"), Kind.TRANSIENT),
        (400, {}, envelope("X/1", "An error", {"code": "MC/601", "message": "Object requested"}), Kind.TRANSIENT),
        (423, {}, envelope("/IWBEP/CX_MGW_BUSI_EXCEPTION", "Document is locked"), Kind.TRANSIENT),
        (400, {}, envelope("/IWFND/CM_BEC/026", "Data Services Request could not be understood"), Kind.TRANSIENT),
        (400, {}, envelope("/IWBEP/CM_MGW_RT/021", "Property 'Foo' is invalid"), Kind.TRANSIENT),
        (400, {}, b"<html>Bad request</html>", Kind.TRANSIENT),
        (401, {}, b"<html>Logon failed</html>", Kind.TRANSIENT),
        (403, {"x-csrf-token": "Required"}, b"CSRF token validation failed", Kind.TRANSIENT),
        (403, {}, envelope("/IWFND/CM_BEC/062", "No authorization to access service"), Kind.TRANSIENT),
        (404, {}, envelope("/IWFND/MED/170", "No service found for namespace"), Kind.TRANSIENT),
        (409, {}, envelope("X/1", "Changed"), Kind.TRANSIENT),
        (412, {}, envelope("/IWFND/CM_MGW/101", "Precondition failed"), Kind.TRANSIENT),
        (429, {"retry-after": "60"}, b"", Kind.THROTTLED),
        (503, {"retry-after": "30"}, b"", Kind.THROTTLED),
        (503, {}, b"<html>Service unavailable</html>", Kind.TRANSIENT),
        (500, {}, envelope("/IWBEP/CX_MGW_TECH_EXCEPTION", "An exception was raised"), Kind.UNKNOWN),
        (500, {}, LOCKED, Kind.UNKNOWN),
        (502, {}, b"", Kind.UNKNOWN),
        (504, {}, b"", Kind.UNKNOWN),
        (200, {}, b"<html>Log on</html>", Kind.SUSPICIOUS),
        (302, {}, b"", Kind.SUSPICIOUS),
    ],
)
def test_what_an_answer_says_of_an_order(status: int, headers: dict[str, str], body: bytes, kind: Kind) -> None:
    told = failed(status, headers, body)
    assert (told.kind, told.status) == (kind, status)
    assert told.detail.startswith(f"{status}: ")


def test_a_pause_that_is_asked_for_is_kept() -> None:
    assert failed(429, {"retry-after": "60"}, b"").retry_after == 60
    assert failed(400, {}, REFUSED).retry_after is None


def test_saps_words_are_kept_each_once_and_warnings_are_not() -> None:
    body = envelope(
        "V1/312",
        "No such material",
        {"code": "V1/312", "message": "No such material"},
        {"code": "V4/115", "message": "Check the customer", "target": "SoldToParty"},
        {"code": "V1/555", "message": "Only a hint", "severity": "warning"},
    )
    told = read(body)
    assert told is not None
    assert told.words == "No such material; Check the customer"
    assert told.codes == ("V1/312", "V1/312", "V4/115")
    assert failed(400, {}, body).detail == "400: the ERP refuses the order: No such material; Check the customer"


def test_the_envelope_of_v4_is_read_as_well() -> None:
    body = {"error": {"code": "V1/042", "message": "Locked", "details": [{"code": "MC/601", "message": "By whom"}]}}
    told = read(json.dumps(body).encode())
    assert told == (("V1/042", "MC/601"), "Locked; By whom")


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b"1", b'{"error":1}', b'{"error":{}}', b'{"error":{"message":{}}}', b'{"error":{"message":1}}',
     b'{"error":{"message":"x","innererror":{"errordetails":[1]}}}',
     b'{"error":{"message":"x","innererror":{"errordetails":{"a":1}}}}'],
)  # fmt: skip
def test_what_is_no_envelope_is_none(body: bytes) -> None:
    assert read(body) is None


def test_of_many_details_some_are_read() -> None:
    told = read(envelope("A/1", "first", *({"code": f"B/{n}", "message": f"no {n}"} for n in range(500))))
    assert told is not None
    assert len(told.codes) == MOST_DETAILS + 1
