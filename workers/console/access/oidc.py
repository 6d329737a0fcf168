"""Login by the wholesaler's own identity provider (OpenID Connect Core 1.0), where it is set, through Authlib.

Authorization code with PKCE (RFC 7636), state and nonce; the ID token's signature, issuer, audience, times and nonce
are all checked, and only asymmetric algorithms count. The provider says who somebody is; what they may is the
account's: it is made at the command line for that subject, never by a login. The state lives in a cookie of the
browser that began, so that no login can be finished by another.
"""

from __future__ import annotations

import json
import secrets
import time
import warnings
from base64 import b64encode
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote_plus

from config.settings import MissingSetting, Settings
from orders.errors import RelaisError
from workers.console.access.people import subject_of

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
LEEWAY: Final = 60  # seconds that clocks may differ
CALL_TIMEOUT: Final = 5.0  # seconds for one call to the provider
DISCOVERY: Final = 3600.0  # seconds that its addresses are taken for what they were
BACK: Final = "/login/oidc/callback"
LARGEST: Final = 256 * 1024  # bytes of an answer


class ProviderAway(RelaisError):
    """The identity provider is out of reach, or answers what it should not."""


class NotProven(RelaisError):
    """What came back from the provider proves nothing; the message says what is wrong, with nothing of a person."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What a browser keeps between going to the provider and coming back."""

    state: str
    nonce: str
    verifier: str
    wanted: str  # where they wanted to go

    def written(self) -> str:
        """As a cookie's value."""
        return json.dumps(asdict(self)).encode().hex()

    @classmethod
    def read(cls, cookie: str | None) -> Begun | None:
        """None for what is none of ours."""
        try:
            said = json.loads(bytes.fromhex(cookie or ""))
            found = cls(**said)
        except (ValueError, TypeError):
            return None
        return found if all(isinstance(each, str) and each for each in asdict(found).values()) else None


class Provider:
    """The identity provider that the settings name. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked yet. Raises MissingSetting without the extra `oidc`."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Authlib would rather have httpx2, which it finds by itself
                from authlib.integrations.httpx_client import AsyncOAuth2Client
        except ImportError:
            raise MissingSetting(
                "RELAIS_CONSOLE_OIDC_ISSUER needs what is not installed: pip install 'relais[oidc]'"
            ) from None
        self._client = AsyncOAuth2Client
        self.issuer = str(settings.console.oidc_issuer)
        self.client_id = str(settings.console.oidc_client_id)
        secret = settings.console.oidc_client_secret
        self._secret = secret.get_secret_value() if secret else None
        self._back = str(settings.console.url).rstrip("/") + BACK
        self._found: dict[str, Any] = {}
        self._keys: Any = None
        self._looked = 0.0

    @classmethod
    def of(cls, settings: Settings) -> Provider | None:
        """None where the settings name none. Raises MissingSetting without the rest of it, or the extra `oidc`."""
        if not settings.console.oidc_issuer:
            return None
        if not (settings.console.oidc_client_id and settings.console.url):
            raise MissingSetting(
                "RELAIS_CONSOLE_OIDC_ISSUER needs RELAIS_CONSOLE_OIDC_CLIENT_ID and RELAIS_CONSOLE_URL as well"
            )
        return cls(settings)

    async def begin(self, wanted: str) -> tuple[str, Begun]:
        """Where to send the browser, and what it has to keep. Raises ProviderAway."""
        begun = Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), wanted)
        about = await self._discover()
        async with self._session(about) as session:
            url, _ = session.create_authorization_url(
                about["authorization_endpoint"], state=begun.state, nonce=begun.nonce, code_verifier=begun.verifier
            )
        return str(url), begun

    async def finish(self, begun: Begun, code: str) -> str:
        """Who came back with this code: `issuer#sub`. Raises NotProven and ProviderAway."""
        about = await self._discover()
        token = await self._exchange(about, begun, code)
        claims = await self._read(token, begun.nonce)
        return subject_of(self.issuer, claims["sub"])

    async def _exchange(self, about: dict[str, Any], begun: Begun, code: str) -> str:
        from authlib.integrations.base_client import OAuthError
        from httpx import HTTPError

        try:
            async with self._session(about) as session:
                answer = await session.fetch_token(
                    about["token_endpoint"], code=code, code_verifier=begun.verifier, grant_type="authorization_code"
                )
        except OAuthError:
            raise NotProven("the provider does not take back its code") from None
        except (HTTPError, ValueError) as error:
            raise ProviderAway("the provider gives no token") from error
        token = answer.get("id_token")
        if not isinstance(token, str) or len(token) > LARGEST:
            raise NotProven("the provider gives no ID token")
        return token

    async def _read(self, token: str, nonce: str) -> Any:
        """The claims of an ID token that holds in every respect (OpenID Connect Core 1.0, 3.1.3.7)."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import JoseError

        try:
            read = await self._verified(token)
            wanted = {"iss": {"essential": True, "value": self.issuer}, "nonce": {"essential": True, "value": nonce}}
            claims = CodeIDToken(read.claims, read.header, wanted, {"nonce": nonce, "client_id": self.client_id})
            claims.validate(leeway=LEEWAY)
        except JoseError as error:
            raise NotProven(f"its ID token does not hold: {error.error}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise NotProven(f"its ID token cannot be read: {type(error).__name__}") from None
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if self.client_id not in audience:
            raise NotProven("its ID token is for somebody else")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise NotProven("its ID token names nobody")
        return claims

    async def _verified(self, token: str) -> Any:
        """The token, signed by one of the provider's keys; they are fetched again when it is by none of these."""
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError

        fresh = self._keys is None
        if fresh:
            await self._fetch_keys()
        try:
            return jwt.decode(token, self._keys, algorithms=[*ALGORITHMS])
        except (InvalidKeyIdError, BadSignatureError, ValueError):
            if fresh:
                raise
        await self._fetch_keys()
        return jwt.decode(token, self._keys, algorithms=[*ALGORITHMS])

    async def _fetch_keys(self) -> None:
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        said = await self._get(str((await self._discover())["jwks_uri"]))
        usable = [each for each in said.get("keys", ()) if each.get("kty") != "oct" and each.get("use") != "enc"]
        try:
            self._keys = KeySet.import_key_set({"keys": usable})
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise ProviderAway("the provider's keys cannot be read") from error

    async def _discover(self) -> dict[str, Any]:
        """The provider's addresses (OpenID Connect Discovery 1.0)."""
        if self._found and time.monotonic() - self._looked < DISCOVERY:
            return self._found
        about = await self._get(self.issuer.rstrip("/") + "/.well-known/openid-configuration")
        secured = self.issuer.startswith("https:")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not str(about.get(name, "")).startswith(("https://",) if secured else ("https://", "http://")):
                raise ProviderAway(f"the provider names no {name}")
        if about.get("issuer") != self.issuer:
            raise ProviderAway("the provider says that it is another")
        self._found, self._looked = about, time.monotonic()
        return about

    async def _get(self, url: str) -> dict[str, Any]:
        from httpx import AsyncClient, HTTPError

        try:
            async with AsyncClient(timeout=CALL_TIMEOUT) as client:
                answer = (await client.get(url)).raise_for_status()
            said = json.loads(answer.content)
        except (HTTPError, ValueError) as error:
            raise ProviderAway("the provider is out of reach") from error
        if not isinstance(said, dict):
            raise ProviderAway("the provider answers what it should not")
        return said

    def _session(self, about: dict[str, Any]) -> Any:
        """Authlib's client for one exchange."""
        ways = about.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        way = _by_basic if "client_secret_basic" in ways else "client_secret_post"
        return self._client(
            client_id=self.client_id,
            client_secret=self._secret,
            scope="openid",
            redirect_uri=self._back,
            token_endpoint_auth_method=way if self._secret else "none",
            code_challenge_method="S256",
            timeout=CALL_TIMEOUT,
        )


def _by_basic(client: Any, method: str, url: str, headers: dict[str, str], body: str) -> tuple[str, Any, str]:
    """Authlib's `client_secret_basic`, with id and secret form-encoded first (RFC 6749, 2.3.1)."""
    pair = ":".join(quote_plus(each) for each in (client.client_id, client.client_secret))
    return url, {**headers, "Authorization": f"Basic {b64encode(pair.encode()).decode()}"}, body
