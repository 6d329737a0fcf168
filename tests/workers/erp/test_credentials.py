"""Who we are to an ERP: tokens that are renewed, sessions, passwords, certificates, and that none of it is told."""

import asyncio
import json
import logging
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import hashes

from tests.machines.erp import an_order, good, read_request, receipt_for, settings_for, submit_one
from tests.machines.tls import self_signed
from tests.waiting import auntil
from workers.erp.connectors import BadConnector, check, open_erp
from workers.erp.failures import TABLE, Met
from workers.erp.port import Erp, Kind, Outcome, Submission

SECRET = 's3cret "of" ours'
TAKEN = {Kind.ACCEPTED}


class Office:
    """Hands out tokens and sessions, and takes orders of who shows one that is good."""

    def __init__(self) -> None:
        self.url, self.lasts, self.way = "", 300, "oauth2"
        self.handed: list[str] = []
        self.good: set[str] = set()
        self.forms: list[dict[str, str]] = []
        self.refused, self.orders = 0, list[str]()
        self.dropping: int | None = None  # after so many orders the tokens so far are good no more

    def _new(self) -> str:
        token = f"token-{len(self.handed)}"
        self.handed.append(token)
        self.good.add(token)
        asyncio.get_running_loop().call_later(self.lasts, self.good.discard, token)
        return token

    async def token(self, request: web.Request) -> web.Response:
        form = {name: each[0] for name, each in parse_qs(await request.text()).items()}
        self.forms.append(form | {"authorization": request.headers.get("Authorization", "")})
        await asyncio.sleep(0.02)
        basic = b64encode(b"relais:s3cret+%22of%22+ours").decode()
        if self.forms[-1]["authorization"] != f"Basic {basic}" and form.get("client_secret") != SECRET:
            self.handed.append("none")
            return web.json_response({"error": "invalid_client", "error_description": SECRET}, status=401)
        return web.json_response({"access_token": self._new(), "token_type": "Bearer", "expires_in": self.lasts})

    async def login(self, request: web.Request) -> web.Response:
        said = await request.json()
        if said != {"usr": "relais", "pwd": SECRET, "company": "1"}:
            return web.json_response({"message": SECRET}, status=401)
        token = self._new()
        answer = web.json_response({"data": [{"session": token}]})
        answer.set_cookie("sid", token)
        return answer

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        shown = request.headers.get("Authorization", request.headers.get("X-Session", request.cookies.get("sid", "")))
        if shown.removeprefix("Bearer ") not in self.good:
            self.refused += 1
            return web.json_response({"error": f"who is {shown}?"}, status=401)
        self.orders.append(request.headers["Idempotency-Key"])
        if len(self.orders) == self.dropping:
            self.good.clear()
        return web.json_response(receipt_for(body), status=201)

    async def echo(self, request: web.Request) -> web.Response:
        """Refuses with all that it was shown."""
        words = "; ".join(f"{name}: {value}" for name, value in request.headers.items())
        return web.json_response({"error": f"no: {words}"}, status=422)


@asynccontextmanager
async def office(echoing: bool = False) -> AsyncIterator[Office]:
    there = Office()
    app = web.Application()
    app.add_routes([web.post("/token", there.token), web.post("/login", there.login)])
    app.add_routes([web.post("/orders", there.echo if echoing else there.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    there.url = str(runner.addresses[0][1])
    there.url = f"http://127.0.0.1:{there.url}"
    try:
        yield there
    finally:
        await runner.cleanup()


def options(directory: Path, content: str, secret: str = SECRET) -> Path:
    (directory / "secret").write_text(secret + "\n")
    file = directory / "erp.toml"
    file.write_text(content)
    return file


def oauth(url: str, **more: str) -> str:
    said = {"scheme": "oauth2", "token_url": f"{url}/token", "client_id": "relais", "client_secret_file": "secret"}
    return "[auth]\n" + "\n".join(f'{name} = "{value}"' for name, value in (said | more).items())


@asynccontextmanager
async def connected(url: str, file: Path, **more: Any) -> AsyncIterator[Erp]:
    erp = open_erp(settings_for(url, erp_connector=file, erp_timeout=30.0, **more))
    try:
        yield erp
    finally:
        await erp.close()


def at_office(
    directory: Path, play: Callable[[Erp, Office], Awaitable[None]], content: Callable[[str], str] = oauth
) -> None:
    async def main() -> None:
        async with office() as there, connected(there.url, options(directory, content(there.url))) as erp:
            await play(erp, there)

    asyncio.run(main())


def orders(number: int) -> list[Submission]:
    return [an_order(1) for _ in range(number)]


def kinds(told: dict[Any, Outcome]) -> set[Kind]:
    return {each.kind for each in told.values()}


@pytest.mark.parametrize("way", ["basic", "post"])
def test_a_batch_asks_for_one_token(tmp_path: Path, way: str) -> None:
    async def play(erp: Erp, there: Office) -> None:
        assert kinds(await erp.submit(orders(30), budget=60)) == TAKEN
        assert (len(there.handed), there.refused) == (1, 0)
        form = there.forms[0]
        assert (form["grant_type"], form["scope"]) == ("client_credentials", "orders all")

    at_office(tmp_path, play, lambda url: oauth(url, client_auth=way, scope="orders all"))


def test_a_token_that_is_refused_in_mid_batch_is_renewed_once(tmp_path: Path) -> None:
    async def play(erp: Erp, there: Office) -> None:
        await submit_one(erp, an_order(), 60)
        await asyncio.sleep(1.1)  # what was handed out just now is not thought to be at fault
        there.dropping = 6
        batch = orders(40)
        assert kinds(await erp.submit(batch, budget=60)) == TAKEN
        assert len(there.handed) == 2
        assert there.refused >= 1
        assert sorted(there.orders[1:]) == sorted(str(each.id) for each in batch)

    at_office(tmp_path, play)


def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    async def play(erp: Erp, there: Office) -> None:
        there.lasts = 2

        async def renewed() -> bool:
            assert (await submit_one(erp, an_order(), 60)).kind is Kind.ACCEPTED
            return len(there.handed) == 3

        await auntil(renewed, 20, 0.05, "the third token")
        assert there.refused == 0

    at_office(tmp_path, play)


def test_a_refused_secret_is_tried_once_for_a_whole_batch_and_again_when_its_file_is_renewed(tmp_path: Path) -> None:
    async def play(erp: Erp, there: Office) -> None:
        (tmp_path / "secret").write_text("another secret")
        told = await erp.submit(orders(20), budget=60)
        assert kinds(told) <= {Kind.TRANSIENT, Kind.UNSENT}
        assert (len(there.handed), there.orders, there.refused) == (1, [], 0)
        said = {each.detail for each in told.values() if each.kind is Kind.TRANSIENT}
        assert said == {f"{TABLE[Met.NO_CREDENTIALS].says}: 401: invalid_client"}
        (tmp_path / "secret").write_text(SECRET)

        async def through() -> bool:
            return (await submit_one(erp, an_order(), 60)).kind is Kind.ACCEPTED

        await auntil(through, 15, 0.2, "the secret is read again")
        assert len(there.handed) == 2

    at_office(tmp_path, play)


@pytest.mark.parametrize(
    ("place", "shows"),
    [('cookie = "sid"', "Cookie"), ('token = "data.0.session"\nheader = "X-Session"', "X-Session")],
)
def test_a_session_is_opened_once_and_anew_when_it_ended(tmp_path: Path, place: str, shows: str) -> None:
    log_in = (
        '[auth]\nscheme = "session"\nlogin = "/login"\nuser = "relais"\nuser_field = "usr"\npassword_field = "pwd"\n'
        f'password_file = "secret"\nfields = {{company = "1"}}\n{place}'
    )

    async def play(erp: Erp, there: Office) -> None:
        assert kinds(await erp.submit(orders(10), budget=60)) == TAKEN
        assert len(there.handed) == 1
        there.good.clear()
        await asyncio.sleep(1.1)
        assert kinds(await erp.submit(orders(10), budget=60)) == TAKEN
        assert len(there.handed) == 2

    at_office(tmp_path, play, lambda url: log_in)


@pytest.mark.parametrize(
    ("auth", "shows"),
    [
        ('scheme = "bearer"\ntoken_file = "secret"', "Authorization: Bearer {}"),
        ('scheme = "api-key"\nheader = "X-Key"\nprefix = "token "\nkey_file = "secret"', "X-Key: token {}"),
        ('scheme = "basic"\nuser = "relais"\npassword_file = "secret"', "Authorization: Basic {basic}"),
    ],
)
def test_what_is_shown_is_renewed_in_its_file_and_never_told(
    tmp_path: Path, auth: str, shows: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[dict[str, str]] = []

    async def play() -> list[Outcome]:
        told = []
        async with office(echoing=True) as there:
            echo = there.echo

            async def hear(request: web.Request) -> web.Response:
                heard.append(dict(request.headers))
                return await echo(request)

            there.echo = hear  # type: ignore[method-assign]
            async with connected(there.url, options(tmp_path, f"[auth]\n{auth}")) as erp:
                for secret in (SECRET, "the next one"):
                    (tmp_path / "secret").write_text(secret)
                    told.append(await submit_one(erp, an_order(), 60))
        return told

    told = asyncio.run(play())
    assert {each.kind for each in told} == {Kind.REFUSED}
    said = "\n".join([*(f"{each.detail} {each.answer!r}" for each in told), caplog.text])
    for secret in (SECRET, "the next one"):
        pair = b64encode(f"relais:{secret}".encode()).decode()
        header = shows.format(secret, basic=pair).split(": ")[0]
        assert f"{header}: " in said, "the ERP echoed it"
        for hidden in (secret, pair, json.dumps(secret)[1:-1]):
            assert hidden not in said


def test_a_secret_that_cannot_be_read_is_named_by_its_file(tmp_path: Path) -> None:
    async def play(erp: Erp, there: Office) -> None:
        (tmp_path / "secret").unlink()
        told = await submit_one(erp, an_order(), 60)
        assert told.kind is Kind.TRANSIENT
        assert told.detail.endswith(f"{tmp_path / 'secret'} cannot be read: No such file or directory")

    at_office(tmp_path, play)


@asynccontextmanager
async def asking_for_certificates(
    directory: Path, trusted: Path, received: list[bytes]
) -> AsyncIterator[tuple[str, str]]:
    """A server that speaks to who shows a certificate that it trusts: its URL and its pin."""
    made, file = self_signed(directory, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(trusted))
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _, body = await read_request(reader)
                received.append(body)
                writer.write(good(body))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        pin = made.fingerprint(hashes.SHA256()).hex()
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", pin
    finally:
        server.close()


@pytest.mark.parametrize("pinned", [True, False])
def test_our_certificate_is_shown_and_renewed_in_its_file(tmp_path: Path, pinned: bool) -> None:
    _, ours = self_signed(tmp_path, "ours")
    _, other = self_signed(tmp_path, "other")
    shown = tmp_path / "shown.pem"
    shown.write_bytes(other.read_bytes())

    async def main() -> None:
        received: list[bytes] = []
        async with asking_for_certificates(tmp_path, ours, received) as (url, pin):
            by = "" if pinned else '\nauthority_file = "server.pem"'
            file = options(tmp_path, f'[tls]\ncertificate_file = "shown.pem"{by}')
            async with connected(url, file, **({"erp_pin": pin} if pinned else {})) as erp:
                told = await submit_one(erp, an_order(), 60)
                assert told.kind in {Kind.TRANSIENT, Kind.UNKNOWN}  # unknown where it hangs up without an alert
                assert received == []
                shown.write_bytes(ours.read_bytes())
                assert (await submit_one(erp, an_order(), 60)).kind is Kind.ACCEPTED
                shown.write_text("half of a certificate")
                assert (await submit_one(erp, an_order(), 60)).kind is Kind.ACCEPTED, "the one before stays in use"
            if pinned:
                shown.write_bytes(ours.read_bytes())
                async with connected(url, file, erp_pin="0" * 64) as erp:
                    assert (await submit_one(erp, an_order(), 60)).detail.startswith(TABLE[Met.WRONG_CERTIFICATE].says)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[auth]\nscheme = "pigeon"', "auth: "),
        ('[auth]\nscheme = "bearer"', "auth.bearer.token_file: Field required"),
        ('[auth]\nscheme = "bearer"\ntoken_file = "nowhere"', "there is no file {here}/nowhere"),
        (oauth("http://erp.example"), "must begin with https://"),
        (oauth("https://erp.example", client_secret="x"), "Extra inputs are not permitted"),
        ('[tls]\nkey_file = "secret"', "`key_file` needs `certificate_file` as well"),
        (
            '[auth]\nscheme = "session"\nlogin = "/l"\nuser = "u"\npassword_file = "secret"',
            "either `token` or `cookie`",
        ),
    ],
)
def test_a_fault_in_the_settings_is_named(tmp_path: Path, content: str, says: str) -> None:
    file = options(tmp_path, content)
    with pytest.raises(BadConnector) as told:
        check(settings_for("https://erp.example", erp_connector=file))
    assert str(told.value).startswith(f"erp, {file}, ")
    assert says.format(here=tmp_path) in str(told.value)
    assert SECRET not in str(told.value)


def test_who_we_are_is_said_once(tmp_path: Path) -> None:
    file = options(tmp_path, '[auth]\nscheme = "bearer"\ntoken_file = "secret"')
    with pytest.raises(BadConnector, match=r"auth: RELAIS_ERP_TOKEN says it as well"):
        check(settings_for("https://erp.example", erp_connector=file, erp_token="x"))
