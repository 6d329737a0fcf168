"""Login by a real OpenID Connect provider on loopback, and everything that one could forge."""

import asyncio
import hashlib
import hmac
import json
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from config.settings import MissingSetting, Settings
from tests.workers.console.site import ORIGIN, Site, serving
from workers.console.access import accounts
from workers.console.access.oidc import Provider
from workers.console.access.people import Role


class Idp:
    """The provider: one person, one code at a time, and tokens as `change` makes them."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False)
        self.issuer, self.sub, self.how = "", "7", ""
        self.pair = "console:z%2FtZ9%2BVw+F%252Bq%3AX2%3D%C3%A9"  # as RFC 6749, 2.3.1 has it
        self.codes: dict[str, dict[str, str]] = {}

    def authorize(self, url: str) -> dict[str, str]:
        asked = {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()}
        self.codes["code-1"] = asked
        return asked

    async def about(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
            }
        )

    async def keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [self.key.as_dict(private=False)]})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self.codes.pop(str(form["code"]), None)
        proof = urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).decode().rstrip("=")
        shown = f"Basic {b64encode(self.pair.encode()).decode()}"
        if asked is None or asked["code_challenge"] != proof or request.headers.get("Authorization") != shown:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "a", "token_type": "Bearer", "id_token": self.signed(asked)})

    def signed(self, asked: dict[str, str]) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": "console",
            "sub": self.sub,
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
        }
        claims |= {
            "nonce": {"nonce": "another"},
            "aud": {"aud": "another"},
            "iss": {"iss": "https://evil.test"},
            "exp": {"exp": now - 3600, "iat": now - 7200},
            "sub": {"sub": ""},
        }.get(self.how, {})
        if self.how == "no nonce":
            del claims["nonce"]
        header = {"alg": "RS256", "kid": "one"}
        if self.how in ("none", "HS256"):
            told = _b64(json.dumps({"alg": self.how, "kid": "one"}).encode()) + "." + _b64(json.dumps(claims).encode())
            public = self.key.as_pem(private=False)
            return f"{told}." + (_b64(hmac.digest(public, told.encode(), "sha256")) if self.how == "HS256" else "")
        if self.how == "other key":
            return jwt.encode(header, claims, RSAKey.generate_key(2048))
        return jwt.encode({**header, "kid": str(self.key.kid)}, claims, self.key)


def _b64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


@asynccontextmanager
async def standing(settings: Settings) -> AsyncIterator[tuple[Site, Idp]]:
    idp, app = Idp(), web.Application()
    app.router.add_get("/.well-known/openid-configuration", idp.about)
    app.router.add_get("/keys", idp.keys)
    app.router.add_post("/token", idp.token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    idp.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    known = settings.replace(
        console_url=ORIGIN,
        console_oidc_issuer=idp.issuer,
        console_oidc_client_id="console",
        console_oidc_client_secret=SecretStr("z/tZ9+Vw F%2Bq:X2=é"),
    )
    try:
        async with serving(known) as console:
            subject = f"{idp.issuer}#7"
            await accounts.add(console.owner, "zoe", Role.APPROVER, subject=subject)
            yield console, idp
    finally:
        await runner.cleanup()


async def there_and_back(site: Site, idp: Idp, **query: str) -> tuple[httpx.AsyncClient, httpx.Response]:
    client = site.stranger()
    sent = await client.get("/login/oidc?next=/search")
    assert sent.status_code == 303, sent.text
    asked = idp.authorize(sent.headers["location"])
    assert (asked["code_challenge_method"], asked["redirect_uri"]) == ("S256", f"{ORIGIN}/login/oidc/callback")
    back = {"state": asked["state"], "code": "code-1", **query}
    return client, await client.get("/login/oidc/callback", params=back)


def test_somebody_comes_by_the_provider_and_no_answer_counts_twice(settings: Settings) -> None:
    async def play() -> None:
        async with standing(settings) as (site, idp):
            client, came = await there_and_back(site, idp)
            assert (came.status_code, came.headers["location"]) == (303, "/search")
            assert "zoe" in (await client.get("/account")).text
            assert (await client.get(str(came.request.url))).status_code == 403  # the state is over
            kept = came.request.headers["cookie"]
            forced = await site.stranger().get(str(came.request.url), headers={"Cookie": kept})
            assert forced.status_code == 403  # the provider takes a code once
            idp.key = RSAKey.generate_key(2048, {"kid": "two"}, auto_kid=False)
            assert (await there_and_back(site, idp))[1].status_code == 303  # its keys were renewed
            idp.sub = "8"
            nobody = (await there_and_back(site, idp))[1]
            assert (nobody.status_code, "--oidc 8" in nobody.text) == (403, True)

    asyncio.run(play())


@pytest.mark.parametrize("how", ["nonce", "no nonce", "aud", "iss", "exp", "sub", "none", "HS256", "other key"])
def test_a_forged_token_lets_nobody_in(settings: Settings, how: str) -> None:
    async def play() -> None:
        async with standing(settings) as (site, idp):
            idp.how = how
            client, refused = await there_and_back(site, idp)
            assert (refused.status_code, "did not vouch" in refused.text) == (403, True)
            assert (await client.get("/account")).status_code == 303

    asyncio.run(play())


def test_another_state_an_error_and_a_provider_that_is_away(settings: Settings) -> None:
    async def play() -> None:
        async with standing(settings) as (site, idp):
            assert (await there_and_back(site, idp, state="another"))[1].status_code == 403
            said = (await there_and_back(site, idp, error="<script>access_denied"))[1]
            assert (said.status_code, "<script>access" in said.text) == (403, False)
            provider = site.app.state.access.provider
            provider.issuer, provider._found = "http://127.0.0.1:1", {}
            away = await site.stranger().get("/login/oidc")
            assert (away.status_code, "password still works" in away.text) == (503, True)

    asyncio.run(play())


def test_without_all_of_it_the_console_says_so(settings: Settings) -> None:
    half = settings.replace(console_oidc_issuer="https://id.test")
    with pytest.raises(MissingSetting, match="RELAIS_CONSOLE_URL"):
        Provider.of(half)
