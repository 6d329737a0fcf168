"""Seals close what is journalled block by block, whatever dies or runs meanwhile, and the audit reads them again."""

import asyncio
import hashlib
import json
import random
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from config.settings import Settings
from orders.journal import connect, snapshot, transactional
from orders.schema.epochs import SPAN, functions, rebase
from tests.bench import Bench, with_bench
from tests.cli import CommandLine, clean_environment, environment
from tests.machines.tools import ROOT
from tests.sealing import KEY, as_superuser, seal, some_life
from tests.waiting import auntil
from workers.cli.failure import CommandFailed
from workers.proof import seal_thread
from workers.proof.anchor import place_of
from workers.proof.audit import Proof, prove
from workers.proof.block_content import contents
from workers.proof.keys import keys_of
from workers.proof.seal import Content
from workers.proof.seal_block import seal_now
from workers.proof.seal_thread import Sealer


@pytest.fixture
def sealing(settings: Settings) -> Settings:
    """Settings with a key and an anchor."""
    return settings.replace(seal_key=KEY, anchor=str(settings.files.data_dir / "anchors.ndjson"))


async def proof(bench: Bench) -> Proof:
    return await prove(bench.by("audit"), bench.settings)


def lines(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(str(settings.proof.anchor)).read_text().splitlines()]


def test_what_is_journalled_is_sealed_anchored_and_proven(sealing: Settings) -> None:
    async def work(bench: Bench) -> None:
        assert (await seal(bench)).seal is None, "nothing is there yet"
        for number in range(1, 4):
            await some_life(bench)
            done = await seal(bench)
            assert done.seal is not None
            assert (done.seal.block, done.anchored, done.error) == (number, number, None)
            assert {name: each.rows for name, each in done.seal.tables.items()} == {
                "orders": 3,
                "attempts": 3,
                "receipts": 3,
                "operations": 3,
                "evidence": 2,
                "changes": 1,
                "mappings": 1,
            }
        assert (await seal(bench)).seal is None, "nothing is new"
        await bench.accept(2)
        found = await proof(bench)
        assert found.faults == []
        assert (found.chain.blocks, found.chain.rows, found.chain.unsealed, found.chain.anchored) == (3, 48, 2, 3)

    with_bench(sealing, work)
    assert [line["block"] for line in lines(sealing)] == [1, 2, 3]
    assert oct(Path(str(sealing.proof.anchor)).stat().st_mode)[-3:] == "640"


def test_blocks_of_an_older_format_are_read_by_its_columns(sealing: Settings) -> None:
    async def work(bench: Bench) -> tuple[list[bytes], dict[str, Content]]:
        await bench.accept(2)
        columns = "id, pharmacy, reference, body, digest, received_at, client, request_id, idempotency_key, origin, tx"
        rows = await bench.run(text(f"SELECT record_send(ROW({columns})) FROM orders ORDER BY id"))
        async with snapshot(bench.engine) as connection:
            (found,) = await contents(connection, [0, 1 << 62], form=1)
        return [row[0] for row in rows], found

    rows, found = with_bench(sealing, work)
    whole = hashlib.sha256(b"".join(len(row).to_bytes(4, "big") + row for row in rows)).hexdigest()
    assert found["orders"] == Content(2, whole)


def test_the_content_of_a_seal_is_that_of_its_rows_and_can_be_verified_elsewhere(sealing: Settings) -> None:
    """The line of an anchor and the public key are enough, with nothing of Relais."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    async def work(bench: Bench) -> list[bytes]:
        await bench.accept(2)
        await seal(bench)
        columns = "id, pharmacy, reference, body, digest, received_at, client, request_id, idempotency_key, origin"
        rows = await bench.run(text(f"SELECT record_send(ROW({columns}, rival, tx)) FROM orders ORDER BY id"))
        return [row[0] for row in rows]

    rows = with_bench(sealing, work)
    (line,) = lines(sealing)
    whole = hashlib.sha256(b"".join(len(row).to_bytes(4, "big") + row for row in rows)).hexdigest()
    assert line["tables"]["orders"] == {"rows": 2, "sha256": whole}
    (key,) = keys_of(KEY).values()
    mac, signature = bytes.fromhex(line.pop("mac")), bytes.fromhex(line.pop("signature"))
    said = json.dumps(line, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature, b"relais.seal.4\n" + said + b"\n" + mac)
    assert key.mac(b"relais.seal.4\n" + said) == mac


def test_a_transaction_that_still_runs_is_in_a_later_block(sealing: Settings) -> None:
    """Its rows have an old number when they appear: no block that is sealed may lack them."""

    async def work(bench: Bench) -> None:
        slow = await asyncpg.connect(sealing.need("database_url"))
        running = slow.transaction()
        await running.start()
        await slow.execute("INSERT INTO operations (operator, act, detail) VALUES ('o', 'slow', '{}')")
        await bench.accept(3)
        assert (await seal(bench)).seal is None, "all of it is later than what still runs"
        await running.commit()
        await slow.close()
        done = await seal(bench)
        assert done.seal is not None
        assert (done.seal.tables["operations"].rows, done.seal.tables["orders"].rows) == (1, 3)
        assert (await proof(bench)).faults == []

    with_bench(sealing, work)


def test_sealing_under_load_with_long_transactions_raises_no_false_alarm(sealing: Settings) -> None:
    """Writers of every length, rollbacks, savepoints and two sealers at once, and in between the audit."""

    async def writer(url: str, seed: int, over: asyncio.Event) -> None:
        chance = random.Random(seed)
        connection = await asyncpg.connect(url)
        insert = "INSERT INTO operations (operator, act, detail) VALUES ('o', 'load', '{}')"
        while not over.is_set():
            doing = connection.transaction()
            await doing.start()
            for _ in range(chance.randint(1, 4)):
                with suppress(ZeroDivisionError):
                    async with connection.transaction():
                        await connection.execute(insert)
                        if chance.random() < 0.3:
                            raise ZeroDivisionError
                await asyncio.sleep(chance.choice((0, 0, 0.01, 0.15)))
            await (doing.commit() if chance.random() < 0.8 else doing.rollback())
        await connection.close()

    async def sealer(bench: Bench, over: asyncio.Event) -> None:
        keys = keys_of(KEY)
        while not over.is_set():
            await seal_now(bench.engine, keys, place_of(str(sealing.proof.anchor), keys), wait=False)
            await asyncio.sleep(0)

    async def work(bench: Bench) -> None:
        over, other = asyncio.Event(), connect(sealing.need("database_url"), pool=4)
        tasks = [asyncio.create_task(writer(sealing.need("database_url"), seed, over)) for seed in range(6)]
        benches = [bench.under(sealing, engine) for engine in (bench.engine, other)]
        tasks += [asyncio.create_task(sealer(each, over)) for each in benches]

        async def audited() -> bool:
            found = await prove(other, sealing)
            assert found.faults == []
            return found.chain.blocks >= 8

        try:
            await auntil(audited, 60)
        finally:
            over.set()
            await asyncio.gather(*tasks)
        await seal(bench)
        found = await proof(bench)
        assert found.faults == []
        assert found.chain.unsealed == 0
        await other.dispose()

    with_bench(sealing, work)
    assert [line["block"] for line in lines(sealing)] == list(range(1, len(lines(sealing)) + 1))


def test_an_order_that_was_spilled_days_ago_is_sealed_today(sealing: Settings) -> None:
    async def work(bench: Bench) -> None:
        await some_life(bench)
        await seal(bench)
        await bench.accept(1)
        await as_superuser(
            bench, "UPDATE orders SET received_at = now() - interval '3 days' WHERE tx = (SELECT max(tx) FROM orders)"
        )
        await seal(bench)
        assert (await proof(bench)).faults == []

    with_bench(sealing, work)


def torn(path: Path) -> None:
    """As a process leaves it that is killed while it writes."""
    with path.open("a") as file:
        file.write('{"format":1,"block":3,"epo')


def test_an_anchor_that_could_not_be_written_is_written_later_and_in_order(sealing: Settings) -> None:
    """A full disk, a piece of a line that a killed process left, a file that is gone."""
    path = Path(str(sealing.proof.anchor))
    path.symlink_to("/dev/full")

    async def work(bench: Bench) -> None:
        for _ in range(2):
            await bench.accept(1)
            done = await seal(bench)
            assert done.seal is not None
            assert "No space left" in str(done.error)
        await asyncio.to_thread(path.unlink)
        assert any("cannot be read" in fault for fault in (await proof(bench)).faults)
        assert (await seal(bench)).anchored == 2
        await asyncio.to_thread(torn, path)
        assert (await proof(bench)).faults == []
        await bench.accept(1)
        assert (await seal(bench)).anchored == 3
        assert (await proof(bench)).faults == []

    with_bench(sealing, work)
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["block"] for line in whole] == [1, 2, 3]


def spoil(path: Path, garbage: list[bytes]) -> None:
    with path.open("ab") as file:
        file.write(b"\n".join(garbage))


def test_garbage_in_the_anchor_or_in_the_last_seal_stops_neither_audit_nor_worker(sealing: Settings) -> None:
    path = Path(str(sealing.proof.anchor))
    garbage = [b"\xff\xfe", b"[" * 5000, b"null", b"7", b'{"block":9}', b"x" * 200_000, b'{"key_id":[],"format":1}']

    async def work(bench: Bench) -> None:
        for number in (1, 2):
            await bench.accept(1)
            assert (await seal(bench)).anchored == number
            await asyncio.to_thread(spoil, path, garbage)
            assert (await proof(bench)).faults == []
        await as_superuser(bench, "UPDATE seals SET tables = '7' WHERE block = 2")
        assert (await proof(bench)).faults == ["block 2: the seal itself was altered"]
        await bench.accept(1)
        done = await seal(bench)
        assert done.seal is not None
        assert (done.seal.block, done.seal.tables["orders"].rows, done.anchored) == (3, 2, 3)
        assert (await proof(bench)).faults == ["block 2: the seal itself was altered"]

    with_bench(sealing, work)


BOGUS = """
INSERT INTO seals (block, format, epoch, from_tx, to_tx, tables, sealed_at, previous, mac, key_id, signature)
SELECT {block}, format, epoch, to_tx, {to_tx}, tables, {at}, mac, mac, {key}, signature
FROM seals WHERE block = 1
"""
BOGUS_TOO = [
    {},
    {"block": "9223372036854775807"},
    {"to_tx": "9223372036854775807", "at": "now() + interval '100 years'"},
    {"key": "'none of ours'", "at": "now() - interval '2 hours'"},
]


@pytest.mark.parametrize("values", BOGUS_TOO)
def test_a_seal_that_somebody_else_wrote_is_told_and_stops_nothing(
    sealing: Settings, capsys: pytest.CaptureFixture[str], values: dict[str, str]
) -> None:
    """Whatever it says of itself: the next block follows the last one that is ours."""
    bogus = {"block": "2", "to_tx": "to_tx + 1", "at": "now()", "key": "key_id", **values}
    relais = CommandLine(capsys, environment(sealing))

    async def first(bench: Bench) -> None:
        await bench.accept(1)
        assert (await seal(bench)).anchored == 1
        await bench.sql(BOGUS.format(**bogus))

    async def after(bench: Bench) -> None:
        await bench.accept(2)
        done = await seal(bench)
        assert done.seal is not None
        number = 3 if bogus["block"] == "2" else 2
        assert (done.seal.block, done.anchored, done.error) == (number, number, None)
        assert done.seal.tables["orders"].rows == 2
        assert str(done.seal.why).startswith(f"passed over block {bogus['block']}: ")
        await bench.accept(1)
        assert (await seal(bench)).anchored == number + 1
        found = await proof(bench)
        assert found.chain.faults == [f"block {bogus['block']}: {told}"]
        assert found.chain.unsealed == 0

    unknown = "is sealed with the key none of ours, which RELAIS_SEAL_KEY does not have"
    told = unknown if "key" in values else "the seal itself was altered"
    with_bench(sealing, first)
    stands = relais("status", "--check")
    assert (stands.code, f"block {bogus['block']}: {told}" in stands.out) == (1, True)
    with_bench(sealing, after)
    assert json.loads(relais("status", "--json").out)["seals"]["doubt"] == f"block {bogus['block']}: {told}"


@pytest.mark.parametrize(("number", "key"), [(1, None), (1, "none of ours"), (7, None)])
def test_a_seal_that_somebody_else_wrote_before_the_first_stops_nothing(
    sealing: Settings, number: int, key: str | None
) -> None:
    forged = """
    INSERT INTO seals (block, format, epoch, from_tx, to_tx, tables, sealed_at, previous, mac, key_id, signature)
    VALUES (:block, 3, 0, 0, 9223372036854775807, '{}', now() - interval '2 hours', '', '', :key, '')"""

    async def work(bench: Bench) -> None:
        await bench.run(text(forged), block=number, key=key or next(iter(keys_of(KEY))))
        async with transactional(bench.owner).begin() as connection:
            assert await connection.run_sync(rebase) is None, "what it says of transactions decides nothing"
        await bench.accept(2)
        done = await seal(bench)
        assert done.seal is not None
        assert (done.seal.block, done.seal.tables["orders"].rows) == (2 if number == 1 else 1, 2)
        assert str(done.seal.why).startswith(f"passed over block {number}: ")
        (fault,) = (await proof(bench)).chain.faults
        assert fault.startswith(f"block {number}: ")

    with_bench(sealing, work)


def test_a_seal_of_a_key_that_is_not_set_here_waits_an_hour(sealing: Settings) -> None:
    """It may be a newer key, which a worker that was restarted before this one has."""
    renewed = sealing.replace(seal_key=SecretStr(f"{'7a' * 32},{'5e' * 32}"))

    async def work(bench: Bench) -> None:
        await bench.accept(1)
        await seal(bench)
        await bench.accept(1)
        await seal(bench.under(renewed))
        await bench.accept(1)
        with pytest.raises(CommandFailed, match=r"block 2: is sealed with the key .* when it is an hour old"):
            await seal(bench)
        done = await seal(bench.under(renewed))
        assert (done.anchored, (await proof(bench.under(renewed))).faults) == (3, [])
        with pytest.raises(CommandFailed, match=r"block 3: is sealed with the key .* when it is an hour old"):
            await seal(bench.under(sealing.replace(seal_key=SecretStr("9b" * 32))))

    with_bench(sealing, work)


def test_syslog_is_an_anchor_and_what_it_kept_can_be_audited(sealing: Settings) -> None:
    daemon = sealing.files.data_dir / "log"
    kept = sealing.files.data_dir / "kept"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(daemon))
        syslog.settimeout(5)
        settings = sealing.replace(anchor=f"syslog:{daemon}")

        async def work(bench: Bench) -> None:
            for number in (1, 2, 3):
                await bench.accept(1)
                assert (await seal(bench)).anchored == number
            with kept.open("w") as file:
                for _ in range(3):
                    file.write(f"Oct 19 14:00:00 host {syslog.recv(65536).decode()}\n")
            assert any("no anchor" in remark for remark in (await proof(bench)).chain.remarks)
            assert (await prove(bench.by("audit"), settings, anchors=kept)).chain.anchored == 3
            await as_superuser(
                bench,
                "DELETE FROM seals WHERE block = 3",
                "DELETE FROM orders WHERE tx = (SELECT max(tx) FROM orders)",
                "DELETE FROM deliveries WHERE order_id NOT IN (SELECT id FROM orders)",
            )
            assert (await proof(bench)).faults == [], "without the anchor nobody can tell"
            found = await prove(bench.by("audit"), settings, anchors=kept)
            assert found.faults == ["block 3: in the anchor and no longer in the journal"]

        with_bench(settings, work)


def test_sealing_goes_on_after_a_loss_says_so_and_an_operator_may_acknowledge_it(sealing: Settings) -> None:
    """As after a restore of an older backup: the lost blocks stay named until somebody says why."""

    async def work(bench: Bench) -> None:
        for _ in range(3):
            await bench.accept(1)
            await seal(bench)
        await as_superuser(
            bench,
            "DELETE FROM orders WHERE tx >= (SELECT from_tx FROM seals WHERE block = 2)",
            "DELETE FROM deliveries WHERE order_id NOT IN (SELECT id FROM orders)",
            "DELETE FROM seals WHERE block >= 2",
        )
        assert (await proof(bench)).faults == ["blocks 2 to 3: in the anchor and no longer in the journal"]
        await bench.accept(1)
        done = await seal(bench)
        assert done.seal is not None
        assert (done.seal.block, done.anchored) == (4, 4)
        (fault,) = (await proof(bench)).faults
        assert fault.startswith("blocks 2 to 3: lost; the anchor has blocks up to 3, the journal up to 1")
        await seal(bench, "restored from the backup of 14:00")
        found = await proof(bench)
        assert found.faults == []
        assert "restored from the backup of 14:00" in found.chain.remarks[0]
        rows = await bench.run(text("SELECT act, reason FROM operations"))
        assert [tuple(row) for row in rows] == [("acknowledge", "restored from the backup of 14:00")]

    with_bench(sealing, work)


def test_a_journal_restored_into_another_postgresql_begins_an_epoch(sealing: Settings) -> None:
    """There transactions have lower numbers than here: as if the rows had come from a cluster far ahead."""

    async def work(bench: Bench) -> None:
        async with transactional(bench.owner).begin() as connection:
            for statement in functions(0):
                await connection.execute(text(statement.replace("+ 0$$", "+ 1000000000$$")))
        await some_life(bench)
        first = (await seal(bench)).seal
        assert first is not None
        assert first.epoch == 0
        await bench.accept(1)  # in the dump, and not sealed
        async with transactional(bench.owner).begin() as connection:
            for statement in functions(0):
                await connection.execute(text(statement))
        assert any("yet to come" in fault for fault in (await proof(bench)).faults)
        with pytest.raises(Exception, match="run `relais admin migrate`"):
            await seal(bench)
        async with transactional(bench.owner).begin() as connection:
            assert await connection.run_sync(rebase) == 1
        async with transactional(bench.owner).begin() as connection:
            assert await connection.run_sync(rebase) is None
        await bench.accept(2)
        second = (await seal(bench)).seal
        assert second is not None
        assert (second.epoch, second.tables["orders"].rows, second.to_tx // SPAN) == (1, 3, 1)
        assert (await proof(bench)).faults == []

    with_bench(sealing, work)


def test_seals_made_with_an_older_key_are_verified_as_long_as_it_is_set(sealing: Settings) -> None:
    renewed = sealing.replace(seal_key=SecretStr(f"{'7a' * 32},{'5e' * 32}"))
    forgotten = sealing.replace(seal_key=SecretStr("7a" * 32))

    async def work(bench: Bench) -> None:
        await bench.accept(1)
        await seal(bench)
        await bench.accept(1)
        newer = bench.under(renewed)
        await seal(newer)
        assert (await proof(newer)).faults == []
        assert [line["key_id"] for line in lines(sealing)] == list(reversed(keys_of(renewed.proof.key)))
        faults = (await prove(bench.by("audit"), forgotten)).faults
        assert any("which RELAIS_SEAL_KEY does not have" in fault for fault in faults)
        unable = await prove(bench.by("audit"), sealing.replace(seal_key=None))
        assert not unable.sound

    with_bench(sealing, work)


async def all_sealed(bench: Bench) -> bool:
    return (await proof(bench)).chain.unsealed == 0


def test_two_sealers_never_seal_the_same_block(sealing: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks every moment; rows come all the time."""
    hasty = sealing.replace(seal_every=0.05)
    monkeypatch.setattr(seal_thread, "MOST_UNSEALED", 5)
    sealers = [Sealer(hasty), Sealer(hasty)]
    for each in sealers:
        each.start()

    async def work(bench: Bench) -> None:
        for _ in range(4):
            for _ in range(5):
                await bench.accept(3)
            await auntil(lambda: all_sealed(bench), 60)

    try:
        with_bench(hasty, work)
    finally:
        for each in sealers:
            each.stop()
    blocks = [line["block"] for line in lines(sealing)]
    assert len(blocks) >= 4
    assert blocks == list(range(1, len(blocks) + 1))
    assert with_bench(sealing, proof).faults == []


def test_without_a_key_nothing_is_sealed_and_everybody_says_so(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais = CommandLine(capsys, environment(settings))
    Sealer(settings).start()
    with_bench(settings, some_life)
    done = relais("admin", "seal")
    assert (done.code, "RELAIS_SEAL_KEY is not set" in done.err) == (2, True)
    assert "none: RELAIS_SEAL_KEY is not set here" in relais("status").out
    told = json.loads(relais("audit", "--json").out)
    assert (told["sound"], told["remarks"], told["seals"]["blocks"]) == (True, ["nothing is sealed yet"], 0)


SEALING_ON_AND_ON = """
import asyncio
import hashlib
from config.settings import load
from orders.journal import connect
from workers.cli.commands.trust.seal import sealed

async def run():
    settings = load()
    engine = connect(settings.journal.url, pool=2)
    print("ready", flush=True)
    while True:
        await sealed(engine, settings, None)

asyncio.run(run())
"""


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_the_sealer_killed_at_any_moment_leaves_a_chain_that_goes_on(sealing: Settings, kills: int) -> None:
    """A process that seals on and on while rows come, killed after ever other times."""
    env = clean_environment(environment(sealing)) | {"PYTHONPATH": str(ROOT)}

    async def kill_again_and_again(bench: Bench) -> None:
        chance = random.Random(7)
        for _ in range(kills):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", SEALING_ON_AND_ON, env=env, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            for _ in range(chance.randint(1, 12)):
                await bench.accept(chance.randint(1, 9))
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await seal(bench)
        found = await proof(bench)
        assert found.faults == []
        assert found.chain.unsealed == 0
        assert found.chain.anchored == found.chain.blocks

    with_bench(sealing, kill_again_and_again)


def test_a_change_of_who_is_trusted_is_kept_and_sealed_whoever_makes_it(sealing: Settings) -> None:
    """With the role of the processes alone: what no act recorded is a fault, and a key keeps what it is."""

    async def work(bench: Bench) -> None:
        await some_life(bench)
        assert (await proof(bench)).faults == []
        await bench.sql(
            "INSERT INTO receipt_keys (backend, key_id, public) VALUES ('erp', 'mine', decode(repeat('ab', 32), 'hex'))"
        )
        await bench.sql("INSERT INTO accounts (name, role, password) VALUES ('mallory', 'approver', 'secret')")
        for released in ("true", "false"):
            await bench.sql(f"UPDATE backends SET quarantined = {released} WHERE name = 'erp'")
        assert (await proof(bench)).faults == [
            f"1 change of {table} that no act recorded" for table in ("accounts", "backends", "receipt_keys")
        ]
        kept = await bench.run(text("SELECT source, content ? 'password' FROM changes ORDER BY id"))
        assert [tuple(row) for row in kept[-3:]] == [(name, False) for name in ("receipt_keys", "accounts", "backends")]
        for act in ("UPDATE receipt_keys SET public = 'x'", "DELETE FROM receipt_keys", "DELETE FROM accounts"):
            with pytest.raises(DBAPIError, match="keeps what it has"):
                await bench.sql(act)
        assert (await seal(bench)).seal is not None

    with_bench(sealing, work)
