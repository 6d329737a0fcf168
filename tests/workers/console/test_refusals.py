"""Why something is not done is said by a code, so that a page tells it in French, and an act that failed as well."""

import ast
import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import workers.console.app  # noqa: F401 - with all errors that a page may meet
from config.settings import Settings
from orders.errors import Fault, Malformed, NotSo, RelaisError
from orders.refusals import NotDone
from orders.sentences import Sentence
from tests.machines.tools import ROOT
from tests.workers.console.pages import lines_of
from tests.workers.console.site import Browser, Site, serving
from tests.workers.console.test_french import english
from workers.console.access.people import Person, Role
from workers.console.acts import table
from workers.console.error_pages import refused
from workers.console.i18n import languages
from workers.console.masking import say

# What the console does not call: faces of their own, which speak English to programs, and what starts a process.
ELSEWHERE = (
    "orders/access",
    "orders/api",
    "orders/client",
    "orders/errors.py",
    "orders/intake/group_commit.py",
    "orders/intake/routing.py",
    "orders/intake/store_switch.py",
    "orders/model.py",
    "orders/faults.py",
    "orders/pharmaml",
    "orders/rules",
    "orders/schema",
    "orders/webhooks",
    "workers/cli",
    "workers/console/access/oidc.py",  # whose words are for the log
    "workers/queue",
)
FRENCH = {"Accept-Language": "fr"}


def kinds(root: type) -> Iterator[str]:
    """The names of an error and of those below it."""
    yield root.__name__
    for each in root.__subclasses__():
        yield from kinds(each)


SAYING = {*kinds(RelaisError), "Fault", "wrong"} - {
    "Malformed",
    "Throttled",
    "Unauthorised",
}  # which tell nothing of their own


def texts(path: Path) -> Iterator[str]:
    """Where an error is made of a text in English."""
    of_console = "console" in path.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in SAYING or (of_console and name == "ValueError"):
            told = {"Fault": node.args[2:], "wrong": node.args[1:]}.get(name, node.args)
            if any(isinstance(each, ast.Constant | ast.JoinedStr | ast.BinOp) for each in told):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"


def test_whatever_a_page_may_have_to_tell_is_a_sentence_with_a_code() -> None:
    found = [
        each
        for room in ("orders", "workers")
        for path in sorted((ROOT / room).rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(ELSEWHERE)
        for each in texts(path)
    ]
    assert found == []


def test_a_refusal_is_told_in_french_with_what_it_is_about() -> None:
    french = languages("Europe/Paris")["fr"]
    at = datetime(2026, 1, 5, 8, tzinfo=UTC)
    paused = Sentence(NotDone.PAUSED_ALREADY, backend="erp")
    done = NotSo(Sentence(NotDone.DONE_BECAUSE, what=paused, by="jeanne", at=at, reason="stocktaking"))
    assert say(refused(done), french).startswith("erp est déjà en pause\u202f: jeanne l'a fait le 5 janv.")
    fields = Malformed([Fault("since", None, Sentence(NotDone.NOT_PAST)), Fault("id", None, Sentence(NotDone.EMPTY))])
    told = "Depuis\u202f: n'est pas encore passé\u202f; Commandes nommées\u202f: doit être rempli"
    assert say(refused(fields), french) == told
    role = Sentence(NotDone.TAKES_ANOTHER_ROLE, role="approver", who="jeanne", has="operator")
    assert say(role, french) == "il faut le rôle validation\u202f; jeanne a le rôle exploitation"


PAGES = {  # what is asked for, and what of the answer
    "/act/{id}": "cette action n'existe pas",
    "/acts/nothing": "cette action n'existe pas",
    "/acts/pause": "ERP\u202f: doit être rempli",
    "/acts/pause?backend=nobody": "aucun ERP nobody",
    "/acts/release?backend=erp": "il faut le rôle validation",
    "/acts/rate?backend=erp&rate=x": "doit être en commandes par seconde",
    "/acts/divert?to=erp&from=erp": "doit être un autre ERP que celui qu'elles quittent",
    "/acts/reconcile?backend=erp&since=never": "doit être un âge comme 6h ou 2d",
    "/backend/nobody": "aucun ERP nobody",
    "/dead/0": "doit être un nombre",
    "/dead/99": "aucune cause 99",
    "/operations/99": "cette action n'existe pas",
    "/order/{id}/life": "aucune commande",
    "/orders?product=3400937318045": "sa clé de contrôle est fausse",
    "/orders?state=x": "doit être l'un de ceux qui sont proposés",
    "/orders?product=1": "doit avoir 13 chiffres",
    "/recovery/replays/99": "aucun rejeu 99",
    "/recovery/reconciliations/99": "aucun rapprochement 99",
    "/report?since=x": "n'est pas une date comme 2024-10-19T14:30",
    "/report/{id}": "cette console ne garde pas ce rapport",
    "/orders?after=x": "n'est pas un endroit de cette liste",
    "/operations?operator={long}": "n'est pas ce qui est demandé ici",
}


async def ended(site: Site, browser: Browser, error: Exception) -> list[str]:
    """What the page of an act tells that this error ended."""
    number, runner = uuid4(), site.app.state.acts
    act, jeanne = runner.kinds["pause"], Person("jeanne", Role.OPERATOR, "")
    await table.begin(site.app.state.console.engine, number, act, {}, {}, "un test", jeanne)

    async def fail(*_: Any) -> Any:
        raise error

    runner.start(number, replace(act, run=fail), {}, "un test", jeanne.name, "")
    await runner.over(number)
    return lines_of((await browser.get(f"/act/{number}", headers=FRENCH)).text)


def test_a_page_that_refuses_and_an_act_that_failed_speak_french(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter("jeanne", Role.OPERATOR)
            for path, told in PAGES.items():
                answer = await jeanne.get(path.format(id=uuid4(), long="x" * 200), headers=FRENCH)
                lines = lines_of(answer.text)
                assert answer.status_code in (403, 404, 409, 422), (path, answer.status_code)
                assert english(lines) == [], path
                assert told in " ".join(lines), (path, lines)
            for error, told in (
                (NotSo(Sentence(NotDone.PAUSED_ALREADY, backend="erp")), "erp est déjà en pause"),
                (Malformed([Fault("to", None, Sentence(NotDone.OFFERED))]), "doit être l'un de ceux qui sont proposés"),
                (ZeroDivisionError(), "une erreur interne de la console"),
            ):
                lines = await ended(site, jeanne, error)
                assert any(told in each for each in lines), (told, lines)
                assert english(lines) == [], lines

    asyncio.run(look())
