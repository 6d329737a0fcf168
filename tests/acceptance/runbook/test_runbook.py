"""The runbook, lived through: for each section a live installation is brought into that state by its real cause, and
every command of the section is run in order, with the exit codes and the words that the runbook promises.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from tests.acceptance.runbook.drills import DRILLS
from tests.acceptance.runbook.losses import small_disk
from tests.acceptance.runbook.site import ROOT, FileSite, Site, expected, sections

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

DOCUMENT = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = sections(DOCUMENT)
APART = ("answers-set-aside", "disk-filling")  # each needs an installation of its own
ALERTS = {
    "RelaisErpDown": "erp-down",
    "RelaisQuarantined": "erp-compromised",
    "RelaisCutOffAtRisk": "cut-off-at-risk",
    "RelaisBacklogOld": "backlog-old",
    "RelaisDeadLetters": "poison-order",
    "RelaisUnmapped": "codes-unmapped",
    "RelaisAnswersOverdue": "answers-overdue",
    "RelaisAnswersSetAside": "answers-set-aside",
    "RelaisReceiptsInConflict": "poison-order",
    "RelaisAuditFailed": "audit-failed",
    "RelaisNoLeader": "no-leader",
    "RelaisCanarySilent": "worker-stuck",
    "RelaisWorkerDeaf": "worker-stuck",
    "RelaisSpillForged": "spill-forged",
    "RelaisSpillInUse": "postgresql-failover",
    "RelaisRedisMemory": "redis-memory",
    "RelaisRedisDown": "redis-lost",
    "RelaisJournalDown": "postgresql-failover",
    "RelaisJournalWeak": "postgresql-failover",
    "RelaisDiskFilling": "disk-filling",
    "RelaisExporterDown": "exporter-down",
    "RelaisReplayHolds": "replay-holds",
    "RelaisAuditStale": "audit-failed",
    "RelaisIntakeRefusing": "intake-refusing",
}


@contextmanager
def home() -> Iterator[Path]:
    """A directory through which PostgreSQL's user may pass."""
    with tempfile.TemporaryDirectory(prefix="relais-test-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@contextmanager
def running(directory: Path, leash: Leash, kind: type[Site] = Site) -> Iterator[Site]:
    site = kind(directory, leash)
    try:
        site.start()
        yield site
    finally:
        site.close()


@pytest.fixture(scope="module")
def site(leash: Leash) -> Iterator[Site]:
    with home() as directory, running(directory, leash) as site:
        yield site


def drill(site: Site, anchor: str) -> None:
    """Every command of the section, and that it is over then."""
    site.heal()
    story, site.said = DRILLS[anchor](site), []
    for number, block in enumerate(SECTIONS[anchor]):
        assert next(story, "over") != "over", f"block {number} of {anchor} has no place in its drill"
        umask = "umask 077; " if "umask 077" in block else ""
        for line in block:
            command, codes, words = expected(line)
            site.shell(umask + command, codes, words)
    assert next(story, "over") == "over", f"{anchor} has fewer blocks than its drill"
    site.is_over()


@pytest.mark.slow
@pytest.mark.parametrize("anchor", [anchor for anchor in DRILLS if anchor not in APART])
def test_every_command_of_a_section_does_what_the_runbook_says(site: Site, anchor: str) -> None:
    drill(site, anchor)


@pytest.mark.slow
def test_a_disk_that_is_really_full(leash: Leash) -> None:
    with ExitStack() as stack:
        directory = stack.enter_context(home())
        try:
            stack.enter_context(small_disk(directory, "180m"))
        except PermissionError as error:
            pytest.skip(str(error))
        drill(stack.enter_context(running(directory, leash)), "disk-filling")


@pytest.mark.slow
def test_answers_that_cannot_be_read(leash: Leash) -> None:
    with home() as directory, running(directory, leash, FileSite) as site:
        drill(site, "answers-set-aside")


def test_every_section_is_drilled_and_every_drill_has_a_section() -> None:
    assert {*DRILLS} == {*SECTIONS}
    assert all(SECTIONS.values()), "a section without commands"
    headings = re.findall(r"^## ", DOCUMENT, re.MULTILINE)
    assert len(headings) == len(SECTIONS), "a heading without an anchor"
    assert DOCUMENT.count("```bash\n") == sum(map(len, SECTIONS.values())), "a block outside any section"


def test_every_alert_leads_to_a_section() -> None:
    rows = dict(re.findall(r"`(Relais\w+)`(?=[^|]*\|[^|]*\(#([a-z-]+)\))", DOCUMENT))
    assert rows == ALERTS
    assert {*ALERTS.values()} <= {*SECTIONS}
    linked = set(re.findall(r"\]\(#([a-z-]+)\)", DOCUMENT))
    assert linked == {*SECTIONS}, "every section is found from the top, and no link is dead"


def test_every_variable_is_explained() -> None:
    used = set(
        re.findall(r"\$([A-Z_]+)", "\n".join(line for blocks in SECTIONS.values() for each in blocks for line in each))
    )
    explained = set(re.findall(r"`\$([A-Z_]+)`", DOCUMENT))
    assert used - explained == {"DIGEST", "NEW_KEY"} & (used - explained)


@pytest.mark.slow
def test_an_exit_code_or_word_that_the_runbook_gets_wrong_fails(site: Site) -> None:
    with pytest.raises(AssertionError, match=r"exit code 0, not \{1\}"):
        site.shell("relais backlog", {1}, [])
    with pytest.raises(AssertionError, match="does not say"):
        site.shell("relais backlog", {0}, ["nonsense"])
    assert expected('relais x "$A" --b 1  # exits 7, "one two"') == ('relais x "$A" --b 1', {7}, ["one two"])
    assert expected("relais x  # exits 0, or 1 when it rains") == ("relais x", {0, 1}, [])
