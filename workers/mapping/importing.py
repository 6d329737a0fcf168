"""The import of codes: previewed by what does it, whole or not at all, and with it the dead letters that waited for it.

Two imports of one backend follow each other. One that was previewed before another was committed is refused: it may
take away or change what nobody was shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotSo
from orders.journal import transactional
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import CodeKind
from workers.mapping.current_mapping import Target, newest
from workers.operations import record
from workers.replay.redrive import count_mapped, replay_mapped

MAPPING_LOCK: Final = 0x5245_4C4D  # with the backend's hash beside it

ALONE: Final = text(f"SELECT pg_advisory_xact_lock({MAPPING_LOCK}, hashtext(:backend))")
CURRENT: Final = text("""
SELECT * FROM (SELECT DISTINCT ON (code) code, target, price_list, warehouse FROM mappings
  WHERE backend = :backend AND kind = :kind ORDER BY code, version DESC) newest WHERE target IS NOT NULL
""")
INSERT: Final = text("""
INSERT INTO mappings (backend, version, kind, code, target, price_list, warehouse)
SELECT :backend, :version, :kind, u.code, u.target, u.price_list, u.warehouse
FROM unnest(CAST(:codes AS text[]), CAST(:targets AS text[]), CAST(:price_lists AS text[]), CAST(:warehouses AS text[]))
  AS u (code, target, price_list, warehouse)
""")

NOTHING: Final[Target | tuple[None, None, None]] = (None, None, None)


@dataclass(frozen=True, slots=True)
class NewTargets:
    """What a file says: for each code of a kind what the ERP calls it; the file's SHA-256 in hexadecimal."""

    kind: CodeKind
    targets: Mapping[str, Target]
    sha256: str


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What an import does, in codes, and in `orders` how many dead letters it puts through again. `version` is the
    backend's mapping's after it.
    """

    version: int
    new: int
    changed: int
    removed: int
    unchanged: int
    orders: int

    @property
    def written(self) -> int:
        """Codes that get another target."""
        return self.new + self.changed + self.removed


async def preview(engine: AsyncEngine, backend: str, file: NewTargets, *, replace: bool) -> ImportCounts:
    """What the import would do: it is done, and undone."""
    async with transactional(engine).connect() as connection, connection.begin() as transaction:
        _, counts = await _write(connection, backend, file, replace)
        found = ImportCounts(**counts, orders=await count_mapped(connection, backend))
        await transaction.rollback()
        return found


async def import_targets(
    engine: AsyncEngine, backend: str, file: NewTargets, reason: str, *, replace: bool, seen: ImportCounts
) -> ImportCounts:
    """Do what was `seen`; with `replace` codes of the kind that the file does not have are no longer mapped.

    NotSo, with nothing done, when another import came between. Nothing is recorded where nothing changes.
    """
    async with transactional(engine).begin() as connection:
        was, counts = await _write(connection, backend, file, replace)
        if was + bool(seen.written) != seen.version:
            raise NotSo(Sentence(NotDone.MAPPING_MOVED, backend=backend))
        done = ImportCounts(**counts, orders=len(await replay_mapped(connection, backend, reason)))
        if done.written:
            told = {"backend": backend, "kind": file.kind, "sha256": file.sha256, "replace": replace, **asdict(done)}
            await record(connection, "mapping import", reason, told)
        return done


async def _write(
    connection: AsyncConnection, backend: str, file: NewTargets, replace: bool
) -> tuple[int, dict[str, int]]:
    """Add the rows of the next version; the version before, and the counts."""
    await connection.execute(ALONE, {"backend": backend})
    version = await newest(connection, backend)
    of = {"backend": backend, "kind": file.kind}
    was: dict[str, Target] = {row[0]: tuple(row[1:]) for row in await connection.execute(CURRENT, of)}
    becomes: dict[str, Any] = {code: each for code, each in file.targets.items() if was.get(code) != each}
    removed = was.keys() - file.targets.keys() if replace else set[str]()
    rows = becomes | dict.fromkeys(sorted(removed), NOTHING)
    if rows:
        columns = zip(*rows.values(), strict=True)
        values = {name: [*each] for name, each in zip(("targets", "price_lists", "warehouses"), columns, strict=True)}
        await connection.execute(INSERT, {**of, "version": version + 1, "codes": [*rows], **values})
    changed = len(becomes.keys() & was.keys())
    return version, {
        "version": version + bool(rows),
        "new": len(becomes) - changed,
        "changed": changed,
        "removed": len(removed),
        "unchanged": len(file.targets) - len(becomes),
    }
