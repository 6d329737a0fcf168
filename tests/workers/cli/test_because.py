"""An act says why at the command line as it does in the console: by the same rule, before anything is looked at."""

from pathlib import Path

import pytest

from config.settings import Settings
from tests.cli import CommandLine, environment
from tests.journal import Journal
from workers.console.registry import ACTS

ID = "0197a3c2-1111-7000-8000-000000000001"
OF_THE_CONSOLE = {  # each act of it, as it is typed here
    "pause": "pause",
    "resume": "resume",
    "rate": "rate 5",
    "quarantine": "quarantine",
    "release": "release",
    "release-propose": "release",
    "release-approve": "release --approve 0",
    "replay-start": "replay",
    "replay-pause": "replay pause",
    "replay-resume": "replay resume",
    "replay-next": "replay next",
    "replay-hold": "replay hold",
    "replay-unhold": "replay hold --off",
    "replay-cancel": "replay cancel",
    "reconcile": "reconcile --since 1h",
    "resend": "reconcile --resume 1 --resend",
    "divert": "divert --to erp",
    "dead-replay": "dead replay --all",
    "dead-discard": "dead discard --all",
    "orders-cancel": "order cancel --pharmacy P1",
    "order-cancel": f"order cancel {ID}",
}
CHANGES_NOTHING = {"drain", "audit", "report"}  # the console keeps what they come to, with why; here they are a look
HERE_ALONE = (
    *("replay start", "replay --reason refused", "drain --replay", "key revoke erp k1", "webhook disable front"),
    *("admin queue drop q", "admin spill drop", "admin spill readmit"),
)

WHERE_IT_HELPS = (  # in the order in which each can be done
    *("client add front", "client change front --rate 5", "client rotate front"),
    *("webhook add front https://127.0.0.1:1/a", "webhook move front https://127.0.0.1:1/b", "webhook rotate front"),
    *("webhook rotate front --finish", "webhook enable front", "webhook test front", "webhook remove front --yes"),
    *("client revoke front", "key add erp one.pub", "key rotate erp two.pub"),
    *("account add jeanne --role viewer --password-file pw", "account role jeanne operator"),
    *("account password jeanne --password-file pw", "account disable jeanne", "account enable jeanne"),
    "account logout jeanne",
)


@pytest.fixture
def relais(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    nowhere = {"RELAIS_DATABASE_URL": "postgresql://127.0.0.1:1/x", "RELAIS_REDIS_URL": "redis://127.0.0.1:1/0"}
    return CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path), **nowhere})


@pytest.fixture
def journal(owner_url: str) -> Journal:
    return Journal(owner_url)


def test_every_act_of_the_console_is_asked_for_its_reason_here() -> None:
    assert {*ACTS} == {*OF_THE_CONSOLE} | CHANGES_NOTHING


@pytest.mark.parametrize("words", [*OF_THE_CONSOLE.values(), *HERE_ALONE])
def test_an_act_without_a_reason_is_refused(relais: CommandLine, words: str) -> None:
    done = relais(*words.split())
    assert (done.code, done.out, "--because" in done.err) == (2, "", True), done.err
    assert "out of reach" not in done.err, "nothing was looked at"
    for said in ("", " \t ", "no", "two\nlines", "x" * 501):
        done = relais(*words.split(), "--because", said)
        last = done.err.splitlines()[-1]
        assert (done.code, "'--because': say why, it must be 3 to 500 characters on one line" in last) == (2, True)


def test_a_look_needs_no_reason(relais: CommandLine) -> None:
    for words in (
        "replay",
        "dead replay --all",
        "dead discard --all",
        "order cancel --pharmacy P1",
        "divert --to erp",
    ):
        assert "out of reach" in relais(*words.split(), "--dry-run").err


def test_who_gives_a_reason_where_none_is_needed_has_it_recorded(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    journal: Journal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pw").write_text("correct horse battery staple")
    relais = CommandLine(capsys, environment(settings))
    for name in ("one", "two"):
        assert relais("key", "generate", name).code == 0
    for words in WHERE_IT_HELPS:
        done = relais(*words.split(), "--because", "no")
        assert (done.code, "'--because': say why" in done.err) == (2, True), words
        done = relais(*words.split(), "--because", f"the audit: {words[:18].strip()}")
        assert done.code == (1 if words == "webhook test front" else 0), done.err  # nobody listens there
    acts = [" ".join(words.split()[:2]) for words in WHERE_IT_HELPS]
    assert journal.operations() == [
        (act, f"the audit: {words[:18].strip()}") for act, words in zip(acts, WHERE_IT_HELPS, strict=True)
    ]
