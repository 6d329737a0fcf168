"""What RELAIS_REDIS_URL may say, and what Celery is told then."""

from __future__ import annotations

import pytest
from kombu import Connection
from pydantic import ValidationError

from config.celeryconfig import celery_config
from config.redis import broker
from config.redis_url import BadRedisUrl, redis_address
from config.settings import Settings

WATCHED = "sentinel://app:p%40ss@h1:26380,h2,[::1]:26381/3?service=relais&sentinel_username=s&sentinel_password=q%26"


def test_one_server_with_and_without_tls() -> None:
    plain = redis_address("redis://:p%2Fw@host/2")
    assert (plain.hosts, plain.database, plain.username, plain.password) == ((("host", 6379),), 2, None, "p/w")
    assert (plain.service, plain.tls) == (None, None)
    secured = redis_address("rediss://app:x@host:1/?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    assert secured.tls == {"ssl_cert_reqs": "required", "ssl_check_hostname": False, "ssl_ca_certs": "/ca.pem"}
    assert redis_address("rediss://host").tls == {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


def test_the_servers_and_their_sentinels_have_passwords_of_their_own() -> None:
    address = redis_address(WATCHED)
    assert address.hosts == (("h1", 26380), ("h2", 26379), ("::1", 26381))
    assert (address.service, address.database) == ("relais", 3)
    assert (address.username, address.password) == ("app", "p@ss")
    assert (address.sentinel_username, address.sentinel_password) == ("s", "q&")
    assert "p@ss" not in repr(address) and "q&" not in repr(address)


def test_celery_is_told_of_every_sentinel_and_how_to_ask_it() -> None:
    found = broker(WATCHED.replace("sentinel:", "sentinels:"))
    connection = Connection(found["broker_url"], transport_options=found["broker_transport_options"])
    assert len(connection.alt) == 3
    assert (connection.hostname, connection.port, connection.virtual_host) == ("h1", 26380, "3")
    assert (connection.userid, connection.password) == ("app", "p@ss")
    options = found["broker_transport_options"]
    assert options["master_name"] == "relais"
    assert (options["sentinel_kwargs"]["password"], options["sentinel_kwargs"]["ssl"]) == ("q&", True)
    assert found["broker_use_ssl"]["ssl_check_hostname"] is True


def test_acknowledgements_stay_off_and_timeouts_on_under_sentinels() -> None:
    options = celery_config(WATCHED, ["erp"], concurrency=1, time_limit=1)["broker_transport_options"]
    assert (options["ack_emulation"], options["socket_timeout"], options["master_name"]) == (False, 2, "relais")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://host", "must begin with"),
        ("redis://", "must begin with"),
        ("redis://h1,h2/0", "several servers"),
        ("redis://host:99999", "no host with a port"),
        ("redis://host/zero", "the database is a number"),
        ("sentinel://h1,h2/0", "does not name the service"),
        ("redis://host?ssl_ca_certs=/ca.pem", "nothing that a redis:// URL can say"),
        ("rediss://host?ssl_cert_reqs=none", "nothing that a rediss:// URL can say"),
        ("rediss://host?ssl_check_hostname=maybe", "true or false"),
        ("rediss://host?ssl_keyfile=/key.pem", "goes with ssl_certfile"),
    ],
)
def test_any_other_url_is_told_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(BadRedisUrl, match=why):
        redis_address(url)
    with pytest.raises(ValidationError, match=why):
        Settings(redis_url=url, _env_file=None)
