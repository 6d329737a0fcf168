"""What docs/proof.md shows for verifying an anchor elsewhere does verify one."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from pydantic import SecretStr, ValidationError

from config.settings import Settings
from tests.machines.tools import ROOT
from workers.proof.keys import keys_of
from workers.proof.seal import FIRST, Content, Seal, doubt, of_line, signed

DOCS = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
KEYS = keys_of(SecretStr("5e" * 32))
KEY = next(iter(KEYS.values()))
SEAL = signed(
    Seal(7, 0, 10, 20, {"orders": Content(2, "ab" * 32)}, datetime(2024, 10, 19, 14, tzinfo=UTC), "été", FIRST, KEY.id),
    KEY,
)


def verify() -> Any:
    """The function in the docs."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    return scope["verify"]


def test_the_code_in_the_docs_verifies_a_line_and_refuses_an_altered_one() -> None:
    line = f"Oct 19 14:00:00 host relais-seal: {SEAL.line()}"
    assert verify()(line, KEY.public.hex())["block"] == 7
    for altered in (line.replace('"rows":2', '"rows":3'), line.replace("été", "ete")):
        with pytest.raises(InvalidSignature):
            verify()(altered, KEY.public.hex())


def test_a_seal_is_read_back_from_its_line() -> None:
    found = of_line(SEAL.line())
    assert found == SEAL
    assert doubt(found, KEYS) is None
    assert doubt(found, keys_of(SecretStr("7a" * 32))) is not None


@pytest.mark.parametrize("key", ["short", "a" * 42, "zz" * 32, f"{'5e' * 32},", "é" * 43])
def test_a_seal_key_is_32_bytes(key: str) -> None:
    with pytest.raises(ValidationError, match="32 bytes"):
        Settings(seal_key=SecretStr(key), _env_file=None)


@pytest.mark.parametrize("key", ["5e" * 32, "A" * 43, "A" * 43 + "=", "-_" * 21 + "A", "+/" * 21 + "A="])
def test_a_seal_key_may_be_hexadecimal_or_base64(key: str) -> None:
    assert len(keys_of(Settings(seal_key=SecretStr(key), _env_file=None).proof.key)) == 1
