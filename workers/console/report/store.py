"""The reports that were made at this console: files for its account alone, a while and so many of them.

A report is files by one random id: in each language the page of HTML and the PDF, and what the console's own page shows
of it. They are copies; what they were made of is in the journal, and their digests are in `operations`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from config.embedded.files import write_private
from orders.sentences import Sentence
from workers.console.i18n import LOCALES
from workers.proof.report.incident import Incident
from workers.proof.report.report_model import Contents, Section

PLACE: Final = "reports"  # in the data directory
MOST_REPORTS: Final = 40  # reports
AGE: Final = 30 * 86_400.0  # s
SHOWN: Final = "json"
KINDS: Final = (*(f"{language}.{kind}" for language in LOCALES for kind in ("html", "pdf")), SHOWN)
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SERIES: Final = ("since", "until", "width", "series", "waiting")


class ReportStore:
    """A directory of reports. Its methods touch the disk: call them on a thread."""

    def __init__(self, data_dir: Path) -> None:
        """Nothing is made before the first report is put there."""
        self.place = data_dir / PLACE

    def put(self, report: UUID, files: Mapping[str, bytes]) -> None:
        """Keep a report's files, by kind, and let go of what is too old or too many."""
        self.place.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.place.chmod(0o700)
        for kind in KINDS:  # the last is what lists it
            write_private(self.place / f"{report}.{kind}", files[kind])
        self.purge()

    def file(self, name: str, kind: str) -> Path | None:
        """Where a file of a report is; None where there is none, or none any more."""
        if kind not in KINDS or not ID.fullmatch(name):
            return None
        path = self.place / f"{name}.{kind}"
        return path if path.is_file() and _age(path) < AGE else None

    def page(self, name: str) -> dict[str, Any] | None:
        """What the console's page shows of a report, as `shown` wrote it."""
        path = self.file(name, SHOWN)
        found: dict[str, Any] | None = json.loads(path.read_bytes()) if path else None
        return found

    def all(self) -> list[dict[str, Any]]:
        """Of each report that is there, the newest first, `id` and what its page begins with."""
        kept = [path for path in self._newest() if _age(path) < AGE][:MOST_REPORTS]
        return [{"id": path.stem, **json.loads(path.read_bytes())["head"]} for path in kept]

    def purge(self) -> None:
        """Remove what is too old, what is too many, and what a process that was killed left half-written."""
        kept = {path.stem for number, path in enumerate(self._newest()) if number < MOST_REPORTS and _age(path) < AGE}
        for path in self.place.iterdir():
            if path.name.partition(".")[0] not in kept and _age(path) > (3600 if path.name.startswith(".") else 0):
                path.unlink(missing_ok=True)

    def _newest(self) -> Iterator[Path]:
        found = [path for path in self.place.glob("*.json") if not path.name.startswith(".")]
        yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def shown(told: Contents) -> bytes:
    """What the console's page needs of a report, as JSON; times are ISO 8601 under the key `at`."""
    incident = told.incident
    page = {
        "head": {"since": incident.since, "until": incident.until, "at": told.at, "by": told.by, "sound": told.sound},
        "verdict": told.verdict.stored(),
        "faults": [fault.stored() for fault in told.faults[:100]],
        "remarks": [remark.stored() for remark in told.remarks],
        "span": told.span,
        "ledger": told.ledger,
        "seals": _cells(told.seals),
        "sections": [_section(each) for each in (*told.sections, told.books)],
        "incident": {name: getattr(incident, name) for name in SERIES},
        "acts": [
            {"at": act["at"], "act": act["act"], "backend": act["detail"].get("backend", "")} for act in incident.acts
        ],
    }
    return json.dumps(page, ensure_ascii=False, default=str).encode()


def drawn(page: Mapping[str, Any]) -> Incident:
    """As much of the incident as its timeline is drawn from."""
    acts = [
        {"at": datetime.fromisoformat(act["at"]), "act": act["act"], "detail": {"backend": act["backend"]}}
        for act in page["acts"]
    ]
    given = page["incident"]
    since, until = (datetime.fromisoformat(given[name]) for name in ("since", "until"))
    return Incident(since, until, given["width"], given["series"], given["waiting"], 0, [], [], acts, [], [], [], [])


def sections(page: Mapping[str, Any]) -> list[Section]:
    """The tables of a report, as they were."""
    return [Section(**each | {"rows": [read(row) for row in each["rows"]]}) for each in page["sections"]]


def read(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, as they were."""
    return {
        name: datetime.fromisoformat(cell["at"]) if isinstance(cell, dict) and set(cell) == {"at"} else cell
        for name, cell in cells.items()
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "headings": section.headings,
        "codes": section.codes,
        "remark": section.remark,
        "rows": [_cells({heading: row.get(heading) for heading in section.headings}) for row in section.rows],
    }


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> Any:
    if isinstance(value, Sentence):
        return value.stored()
    return {"at": value} if isinstance(value, datetime) else value


def _age(path: Path) -> float:
    """In seconds; a file that has just gone is as old as can be."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return AGE
