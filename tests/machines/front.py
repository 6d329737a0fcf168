"""What stands before an ERP that has no TLS and no log-in of its own: HAProxy, and an authorization server by panva."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from joserfc.jwk import RSAKey

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process, Program
from tests.machines.tls import self_signed
from tests.machines.tools import ROOT, lacking
from tests.waiting import until

OIDC: Final = ROOT / ".tools" / "oidc"
SECRET: Final = "s3cret+of%ours"
CONFIGURATION: Final = """
defaults
  mode http
  log stdout format raw local0
  option httplog
  timeout connect 5s
  timeout client 60s
  timeout server 60s
userlist known
  user relais insecure-password {secret}
backend erp
  server erp 127.0.0.1:{erp}
frontend tokens
  bind 127.0.0.1:{tokens} ssl crt {server}
  http-request set-var(txn.now) date(2)
  http-request set-var(txn.left) http_auth_bearer,jwt_payload_query('$.exp','int'),sub(txn.now)
  http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_verify(RS256,"{public}") -m int 1 }}
  http-request deny deny_status 401 unless {{ var(txn.left) -m int gt 0 }}
  default_backend erp
frontend passwords
  bind 127.0.0.1:{passwords} ssl crt {server}
  http-request deny deny_status 401 unless {{ http_auth(known) }}
  default_backend erp
frontend certificates
  bind 127.0.0.1:{certificates} ssl crt {server} ca-file {ours} verify required
  default_backend erp
"""


@dataclass(frozen=True)
class Front:
    """Where each way in is, and where tokens are handed out; all files are in `directory`."""

    directory: Path
    tokens: int
    passwords: int
    certificates: int
    issuer: int

    def refused(self) -> int:
        """How often somebody was not let in."""
        return (self.directory / "haproxy.log").read_text().count(" 401 ")

    def issued(self) -> int:
        """How many tokens were handed out."""
        return (self.directory / "node.log").read_text().count("issued")


@contextmanager
def front_of(port: int, directory: Path, leash: Leash, *, lasts: int) -> Iterator[Front]:
    """Ways in to the ERP at `port`, with tokens that hold for `lasts` seconds, and two less for HAProxy, whose clock is
    ahead by so much. Skips where a part is missing.
    """
    haproxy, node = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/bin"), shutil.which("node")
    if haproxy is None or node is None or not (OIDC / "node_modules").exists():
        lacking("HAProxy, Node.js or authorization server", "apt-get", "npm")
    front = Front(directory, *(choose() for _ in range(4)))
    key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, auto_kid=False)
    (directory / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=True)]}))
    (directory / "public.pem").write_bytes(key.as_pem(private=False))
    (directory / "secret").write_text(SECRET)
    for name in ("server", "ours", "other"):
        self_signed(directory, name)
    files = {name: directory / f"{name}.pem" for name in ("server", "ours", "public")}
    ports = {name: getattr(front, name) for name in ("tokens", "passwords", "certificates")}
    (directory / "haproxy.cfg").write_text(CONFIGURATION.format(erp=port, secret=SECRET, **files, **ports))
    issue = [node, str(OIDC / "server.mjs"), str(front.issuer), *map(str, (directory / "jwks.json", lasts))]
    issue.append(str(directory / "secret"))
    proxy = [haproxy, "-db", "-f", str(directory / "haproxy.cfg")]
    with _answering(leash, directory, issue, front.issuer), _answering(leash, directory, proxy, front.tokens):
        yield front


@contextmanager
def _answering(leash: Leash, directory: Path, argv: list[str], port: int) -> Iterator[None]:
    """A process, from when it listens at `port`."""
    name = Path(argv[0]).name
    process = Process(Program(name, tuple(argv), directory / f"{name}.log", {}, grace=5.0))
    leash.hold(process.mark)
    try:
        until(lambda: is_taken(port), 60, what=f"{name} answers")
        yield
    finally:
        process.end()
        leash.drop(process.mark)


def is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
