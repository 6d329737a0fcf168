"""Credentials at what others wrote: an authorization server, and HAProxy that lets nobody in without them."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.settings import Settings
from tests.conformance.counterparts import Simulated
from tests.conformance.test_connector import NOT_TAKEN, TAKEN, kinds, settled, submit
from tests.machines.erp import settings_for
from tests.machines.front import Front, front_of
from workers.erp.connectors import open_erp
from workers.erp.port import Evidence, Kind, Outcome, Submission

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

LASTS = 6  # seconds of a token
Site = tuple[Simulated, Front]
TOKENS = (
    '[auth]\nscheme = "oauth2"\ntoken_url = "http://127.0.0.1:{}/token"\nclient_id = "relais"\n'
    'client_secret_file = "shown"\n'
)
PASSWORD = '[auth]\nscheme = "basic"\nuser = "relais"\npassword_file = "shown"\n'
BELIEVED = '[tls]\nauthority_file = "server.pem"\n'


@pytest.fixture(scope="module")
def site(leash: Leash) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="relais-front-") as directory:
        erp = Simulated(Path(directory), leash)
        with front_of(erp.port, Path(directory), leash, lasts=LASTS) as front:
            erp.start()
            yield erp, front
            erp.close()


def settings(front: Front, port: int, content: str, **more: object) -> Settings:
    """Of the way in at `port`, with the good secret in the file that is shown."""
    shutil.copy(front.directory / "secret", front.directory / "shown")
    file = front.directory / "erp.toml"
    file.write_text(content)
    url = f"https://127.0.0.1:{port}"
    return settings_for(url, erp_connector=file, erp_timeout=20.0, **more)


def forward(given: Settings, orders: list[Submission], renew: Callable[[], object] | None = None) -> list[Outcome]:
    """What comes of a batch; where its secret is to `renew`, what comes of it then, by the same connector."""

    async def run() -> list[Outcome]:
        erp = open_erp(given)
        try:
            told = await submit(erp, orders)
            if renew is None:
                return list(told.values())
            assert kinds(told) <= NOT_TAKEN
            renew()
            return list((await settled(erp, orders)).values())
        finally:
            await erp.close()

    return asyncio.run(run())


def test_tokens_that_end_in_mid_batch_cost_no_order(site: Site) -> None:
    erp, front = site
    erp._ask("/_dial", "PUT", latency_ms=400)
    orders = [erp.order(1) for _ in range(100)]
    refused, issued = front.refused(), front.issued()
    told = forward(settings(front, front.tokens, TOKENS.format(front.issuer) + BELIEVED, erp_concurrency=4), orders)
    erp._ask("/_dial", "PUT", latency_ms=0)
    assert {each.kind for each in told} <= TAKEN
    effects = erp.effects()
    assert [effects[each.id] for each in orders] == [1] * 100
    assert front.refused() > refused, "HAProxy let one in no more that we still believed in"
    assert 2 <= front.issued() - issued <= 6


@pytest.mark.parametrize("way", ["tokens", "passwords"])
def test_a_wrong_password_is_no_fault_of_an_order_and_is_renewed_in_its_file(site: Site, way: str) -> None:
    erp, front = site
    content = TOKENS.format(front.issuer) if way == "tokens" else PASSWORD
    given = settings(front, getattr(front, way), content + BELIEVED)
    shown = front.directory / "shown"
    good, orders = shown.read_text(), [erp.order(2) for _ in range(5)]
    shown.write_text("another")
    told = forward(given, orders, lambda: shown.write_text(good))
    assert {each.kind for each in told} <= TAKEN
    effects = erp.effects()
    assert [effects[each.id] for each in orders] == [1] * 5


def test_a_wrong_certificate_of_ours_is_no_fault_of_an_order(site: Site) -> None:
    erp, front = site
    orders = [erp.order(3) for _ in range(5)]
    for name, kinds_then in (("other", NOT_TAKEN), ("ours", TAKEN)):
        content = f'[tls]\ncertificate_file = "{name}.pem"\nauthority_file = "server.pem"\n'
        told = forward(settings(front, front.certificates, content), orders)
        assert {each.kind for each in told} <= kinds_then, [each.detail for each in told]
        effects = erp.effects()
        assert [effects[each.id] for each in orders] == [name == "ours"] * 5


def test_a_certificate_of_theirs_that_is_not_believed_gets_nothing(site: Site) -> None:
    erp, front = site
    orders = [erp.order(4)]
    (told,) = forward(settings(front, front.passwords, PASSWORD), orders)
    assert told.kind is Kind.TRANSIENT
    (told,) = forward(settings(front, front.passwords, PASSWORD, erp_pin="0" * 64), orders)
    assert (told.kind, told.evidence) == (Kind.SUSPICIOUS, Evidence.WRONG_CERTIFICATE)
    assert erp.effects()[orders[0].id] == 0
