"""How a connector's settings say who we are: the tables `[auth]` and `[tls]` of its TOML file (docs/connectors.md)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, ValidationInfo, model_validator
from yarl import URL


def beside(path: Path, info: ValidationInfo) -> Path:
    """A path of a connector's settings, looked for beside their file."""
    directory = (info.context or {}).get("beside")
    return directory / path if directory else path


def _there(path: Path) -> Path:
    try:
        found = path.is_file()
    except OSError as error:
        raise ValueError(f"{path} cannot be looked for: {error.strerror}") from None
    if not found:
        raise ValueError(f"there is no file {path}")
    return path


def _safe(url: str) -> str:
    """A client's secret goes there: with TLS, or to this machine."""
    found = URL(url)
    if found.scheme == "https" and found.host:
        return url
    if found.scheme != "http" or not found.host or not _is_this_machine(found.host):
        raise ValueError("must begin with https:// (http:// for this machine alone)")
    return url


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


SecretFile = Annotated[Path, AfterValidator(beside), AfterValidator(_there)]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=200)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BearerOptions(_Options):
    """A token that does not change by itself: `Authorization: Bearer …`."""

    scheme: Literal["bearer"]
    token_file: SecretFile


class BasicOptions(_Options):
    """User and password with each request (RFC 7617)."""

    scheme: Literal["basic"]
    user: Annotated[Word, Field(pattern=r"^[^:]+$")]
    password_file: SecretFile


class ApiKeyOptions(_Options):
    """A key in a header; `prefix` stands before it, as in `Authorization: token KEY`."""

    scheme: Literal["api-key"]
    header: HeaderName = "X-API-Key"
    prefix: Annotated[str, Field(max_length=50, pattern=r"^[\x20-\x7e]*$")] = ""
    key_file: SecretFile


class OAuth2Options(_Options):
    """Client credentials of OAuth 2.0 (RFC 6749, 4.4); `parameters` are more of the token's request, as `audience`."""

    scheme: Literal["oauth2"]
    token_url: Annotated[str, AfterValidator(_safe)]
    client_id: Word
    client_secret_file: SecretFile
    client_auth: Literal["basic", "post"] = "basic"
    scope: Word | None = None
    parameters: dict[Word, Word] = {}


class SessionOptions(_Options):
    """A log-in whose answer bears a token, at `token` in its JSON or as the cookie `cookie`.

    It is sent as `header`, whose value is `prefix` and the token; a cookie goes as a cookie where no header is named.
    """

    scheme: Literal["session"]
    login: Annotated[str, Field(pattern=r"^/[^\s?#]*$", max_length=200)]
    form: bool = False
    user: Word
    user_field: Word = "user"
    password_field: Word = "password"
    password_file: SecretFile
    fields: dict[Word, Word] = {}
    token: Place | None = None
    cookie: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] | None = None
    header: HeaderName | None = None
    prefix: Annotated[str, Field(max_length=50, pattern=r"^[\x20-\x7e]*$")] = ""
    lasts: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_place(self) -> SessionOptions:
        if (self.token is None) == (self.cookie is None):
            raise ValueError("either `token` or `cookie` says where the session is in the log-in's answer")
        if self.cookie is None and self.header is None:
            raise ValueError("`header` must say where the session's token goes")
        return self


AuthOptions = Annotated[
    BearerOptions | BasicOptions | ApiKeyOptions | OAuth2Options | SessionOptions, Field(discriminator="scheme")
]


class TlsOptions(_Options):
    """Our own certificate with its key, in PEM, and the authority that the ERP's is believed by (else the system's)."""

    certificate_file: SecretFile | None = None
    key_file: SecretFile | None = None
    authority_file: SecretFile | None = None

    @model_validator(mode="after")
    def _a_pair(self) -> TlsOptions:
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("`key_file` needs `certificate_file` as well")
        return self
