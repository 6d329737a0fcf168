"""What a look at an exchange of files finds of its directories and of what waits in them, and that nothing is left."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.erp import settings_for
from tests.machines.tools import ROOT
from tests.workers.erp.files.conftest import Exchange, an_edi_order, ordrsp
from workers.erp.checks.finding import CheckFinding, CheckVerdict
from workers.erp.connectors import open_erp
from workers.erp.files.connector import FilesErp
from workers.erp.files.local import LocalPlace
from workers.erp.files.options import FilesOptions

HOUR = 3600.0


def looked(exchange: Exchange, **more: object) -> dict[str, CheckFinding]:
    async def look(_: FilesErp) -> dict[str, CheckFinding]:
        own = settings_for(f"file://{exchange.base}", erp_kind="files", erp_connector=exchange.settle, **more)
        erp = open_erp(own)
        assert isinstance(erp, FilesErp)
        try:
            return {each.name: each async for each in erp.check(budget=10.0)}
        finally:
            await erp.close()

    return exchange.do(look)


def told(found: CheckFinding) -> tuple[str, str]:
    return found.verdict.value, found.detail


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than the tests' own."""
    here = Path(tempfile.gettempdir()).stat().st_dev
    other = next((each for each in (Path("/dev/shm"), Path("/tmp"), ROOT) if each.stat().st_dev != here), None)
    if other is None:
        pytest.skip("there is one file system here")
    with tempfile.TemporaryDirectory(prefix="relais-test-", dir=other) as directory:
        yield Path(directory)


def test_an_exchange_that_is_fit_lacks_nothing_and_keeps_nothing(exchange: Exchange) -> None:
    found = looked(exchange)
    assert [*found] == [
        "work",
        "orders",
        "answers",
        "ERP's clock",
        "orders that wait",
        "answers that wait",
        "answers set aside",
    ]
    assert {each.verdict for each in found.values()} == {CheckVerdict.OK}, found
    left = [each for each in exchange.base.rglob("*") if each.name not in ("orders", "answers", "relais", "files.toml")]
    assert left == [exchange.base / "relais" / "new"], "where the connector itself writes"


@pytest.mark.parametrize("name", ["work", "orders", "answers"])
def test_a_directory_that_is_not_there_is_named_and_not_made(exchange: Exchange, name: str) -> None:
    directory = exchange.base / {"work": "relais"}.get(name, name)
    directory.rmdir()
    found = looked(exchange)
    assert told(found[name])[0] == "would fail"
    assert found[name].detail.startswith("a directory is not there: ")
    assert directory.name in found[name].detail
    assert not directory.exists()


def test_a_directory_of_another_file_system_is_found_out(exchange: Exchange, elsewhere: Path) -> None:
    (exchange.base / "orders").rmdir()
    (exchange.base / "orders").symlink_to(elsewhere)
    found = looked(exchange)
    assert found["orders"].verdict is CheckVerdict.WOULD_FAIL
    assert found["orders"].detail.startswith("the directories must lie on one file system, and do not")
    assert found["answers"].verdict is CheckVerdict.OK
    assert [*elsewhere.iterdir()] == [*(exchange.base / "relais" / "new").iterdir()] == []


def test_orders_that_wait_for_long_are_told(exchange: Exchange) -> None:
    exchange.submit(an_edi_order(1), an_edi_order(2))
    assert told(looked(exchange)["orders that wait"]) == ("ok", "2 files, the oldest written 0s ago")
    for number, each in enumerate((exchange.base / "orders").iterdir()):
        then = each.stat().st_mtime - number * 2 * HOUR
        os.utime(each, (then, then))
    verdict, detail = told(looked(exchange)["orders that wait"])
    assert (verdict, detail) == (
        "not known",
        "2 files, the oldest written 2h 00m ago; set RELAIS_ERP_ACK_WITHIN, to say what is long",
    )
    assert told(looked(exchange, erp_ack_within=3 * HOUR)["orders that wait"])[0] == "ok"
    verdict, detail = told(looked(exchange, erp_ack_within=HOUR)["orders that wait"])
    assert verdict == "would fail"
    assert detail.endswith("more than RELAIS_ERP_ACK_WITHIN (3600 s)")


def test_answers_that_wait_are_not_read_by_a_look(exchange: Exchange) -> None:
    order = an_edi_order(1)
    exchange.submit(order)
    exchange.answer(ordrsp(order))
    assert told(looked(exchange)["answers that wait"]) == ("ok", "1 file, the oldest written 0s ago")
    assert exchange.names("answers") == ["answer.edi"]
    exchange.answer(ordrsp(order), age=HOUR)
    verdict, detail = told(looked(exchange)["answers that wait"])
    assert (verdict, detail) == (
        "not known",
        "1 file, the oldest written 1h 00m ago: a worker reads them while orders are pending",
    )
    exchange.says(exchange.settle.read_text().replace("steady = 0", "steady = 0\nmost_bytes = 10"))
    verdict, detail = told(looked(exchange)["answers that wait"])
    assert (verdict, detail.partition("; ")[2]) == ("would fail", "it has over 10 bytes, and will be set aside")


def test_names_that_are_not_ours_are_counted(exchange: Exchange) -> None:
    exchange.says(exchange.settle.read_text().replace("steady = 0", 'steady = 0\nanswer_names = ["*.xml"]'))
    exchange.answer("DESADV")
    found = looked(exchange)["answers that wait"]
    assert told(found) == ("ok", "none; 1 file with names that are not ours to read")


def test_answers_that_were_set_aside_lately_are_told_with_the_last_reason(exchange: Exchange) -> None:
    order = an_edi_order(1)
    exchange.submit(order)
    for decision in ("9+AP", "9+RE"):  # the second one contradicts the first
        exchange.answer(ordrsp(order, decision))
        exchange.poll(order)
    [aside] = (exchange.base / "relais" / "aside").glob("*.reason.txt")
    verdict, detail = told(looked(exchange)["answers set aside"])
    assert verdict == "would fail"
    assert detail.startswith(f"1 in the last day; the last, relais/aside/{aside.name.removesuffix('.reason.txt')}: ")
    assert detail.endswith(": that answer stays")
    then = aside.stat().st_mtime - 25 * HOUR
    os.utime(aside, (then, then))
    assert told(looked(exchange)["answers set aside"]) == ("ok", "none in the last day, 1 before")
    aside.with_name(aside.name.removesuffix(".reason.txt")).unlink()
    assert told(looked(exchange)["answers set aside"]) == ("ok", "none"), "somebody has seen to it"


def test_a_place_that_does_not_sync_is_told(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalPlace, "syncs", False)
    verdict, detail = told(looked(exchange)["work"])
    assert (verdict, detail.partition("; ")[2]) == ("ok", "the server cannot sync: files are on disk when it sees fit")


def test_the_directories_of_the_settings_are_looked_at(exchange: Exchange) -> None:
    for name in ("orders", "answers", "relais"):
        (exchange.base / name).rename(exchange.base / f"{name}-of-ours")
    names = {"orders": "orders-of-ours", "answers": "answers-of-ours", "work": "relais-of-ours"}
    assert {*names} <= {*FilesOptions.model_fields}
    exchange.says("".join(f'{name} = "{each}"\n' for name, each in names.items()) + exchange.settle.read_text())
    assert {each.verdict for each in looked(exchange).values()} == {CheckVerdict.OK}
