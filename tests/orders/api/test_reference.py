"""The first page and the API's reference: all of the document, nothing from elsewhere, nothing that runs."""

import re
from typing import Any

from fastapi import FastAPI
from lxml import html

from config.settings import Settings
from orders.api.openapi.document import add_routes, document
from orders.api.reference.pages import rendered
from tests.intake import Call, over_http


def described() -> dict[str, Any]:
    app = FastAPI(title="Relais", version="1")
    add_routes(app)
    return document(app)


def test_the_reference_has_every_operation_and_every_field_of_the_document() -> None:
    said = described()
    page = html.fromstring(rendered("docs.html", said))
    told = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, operations in said["paths"].items()
        for method, operation in operations.items()
    }
    shown = {each.get("id"): each.xpath("string(../p[@class='ask']/code)") for each in page.xpath("//section/h2")}
    assert shown == told
    parameters = page.xpath(
        "//section[h2/@id='post_order']//h3[.='Parameters']/following-sibling::dl[1]//dt/code/text()"
    )
    assert parameters == ["Idempotency-Key", "X-Request-ID"]
    for name, schema in said["components"]["schemas"].items():
        fields = page.xpath("//section[h3/@id=$name]//dt/code/text()", name=name)
        assert fields == [*schema.get("properties", ())], name
    assert "a JSON integer" in page.xpath("string(//section[h3/@id='Line'])")
    assert "1 or more, 99999 at most" in page.xpath("string(//section[h3/@id='Line'])")


def test_the_pages_run_nothing_and_need_nothing_from_elsewhere() -> None:
    said = described()
    for template in ("landing.html", "docs.html"):
        page = html.fromstring(rendered(template, said))
        assert [each.tag for each in page.iter("script", "img", "iframe", "style", "form")] == []
        assert page.xpath("//@style | //@*[starts-with(name(), 'on')]") == []
        links = [link for _, _, link, _ in page.iterlinks()]
        assert [link for link in links if re.match(r"(\w+:)?//", link)] == []
        anchors = {*page.xpath("//@id")}
        assert [link for link in links if link.startswith("#") and link[1:] not in anchors] == []


def test_the_pages_are_served_without_a_key_and_lead_where_they_say(settings: Settings) -> None:
    async def work(call: Call) -> None:
        for path in ("/", "/docs"):
            status, text, answer = await call("GET", path, read="text")
            assert (status, answer.content_type) == (200, "text/html")
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'; ")
            assert (await call("HEAD", path, read="text"))[:2] == (200, "")
            ours = {link for _, _, link, _ in html.fromstring(text).iterlinks() if link.startswith("/")}
            assert {"/", "/docs", "/openapi.json", "/docs/style.css"} <= ours
            for link in ours:
                assert (await call("GET", link, read="text"))[0] == 200, link
        assert (await call("POST", "/docs"))[2].headers["Allow"] == "GET, HEAD"

    over_http(settings, work, key=False)
