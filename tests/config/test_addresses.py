"""Where a server is reached that listens on this or that address, and where the intake is for its clients."""

import json
from pathlib import Path

import pytest

from config.addresses import intake_url, server_url, url_of
from config.settings import ENDPOINTS, Settings
from workers.up.endpoints import offer


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8470"),
        ("0.0.0.0", "http://127.0.0.1:8470"),
        ("::", "http://[::1]:8470"),
        ("::1", "http://[::1]:8470"),
        ("relay.example", "http://relay.example:8470"),
    ],
)
def test_a_server_that_listens_everywhere_is_reached_on_loopback_of_the_same_family(host: str, url: str) -> None:
    settings = Settings(api_host=host, _env_file=None)
    assert server_url(host, 8470) == url
    assert intake_url(settings) == url
    assert offer(settings, (), {}, None)["api_url"] == url, "what `relais up` tells others is the same"


def test_an_address_that_is_told_is_not_made_another() -> None:
    assert (url_of("::", 1), url_of("0.0.0.0", 1)) == ("http://[::]:1", "http://0.0.0.0:1")


def test_the_intake_is_where_it_is_said_to_be_else_where_relais_up_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, _env_file=None)
    (tmp_path / ENDPOINTS).write_text(json.dumps({"api_url": "http://127.0.0.1:4711/"}))
    assert intake_url(settings) == "http://127.0.0.1:4711"
    monkeypatch.setenv("RELAIS_API_URL", "https://relay.example/")
    assert intake_url(settings) == "https://relay.example"
