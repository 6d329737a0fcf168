"""States, reasons and outcomes are written into SQL from their enums, and a backend's row in one module."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders.schema.acts import QUARANTINE, RELEASE
from orders.schema.tables.acts import ActState
from orders.schema.tables.reconcile import ReconcileStage
from orders.states import AsideKind, CircuitState, Reason, ReplayState, State
from workers.erp.outcomes import ANSWERED, DELIVERED, LEASE_EXPIRED, SUCCEEDED
from workers.erp.port import Kind

ROOT = Path(__file__).parents[2]
WORDS = {*State, *AsideKind, *Reason, *Kind, LEASE_EXPIRED, *CircuitState, *ReplayState, *ReconcileStage, *ActState}
TYPED = re.compile(rf"'({'|'.join(sorted(WORDS))})'")
# What was diverted has a detail `unknown`, and the history of a replay a key `failed`.
OTHERS = {
    ("workers/replay/controller.py", "failed"),
    ("workers/replay/divert.py", "unknown"),
}
WRITES = re.compile(r"(update|insert into) backends\b", re.IGNORECASE)
HOME = "workers/backend_transitions.py"
# What no process may do but by a function of the journal: these two are laid there, and HOME alone calls them.
LAID = "orders/schema/acts.py"
CALLS = re.compile(r"relais_(quarantine|release)\(")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((*(ROOT / "orders").rglob("*.py"), *(ROOT / "workers").rglob("*.py"))):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("orders/migrations/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def texts(module: ast.Module) -> Iterator[str]:
    """The strings of a module that are no docstrings, of f-strings what is written by hand."""
    prose = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def typed() -> set[tuple[str, str]]:
    return {(name, word) for name, module in modules() for each in texts(module) for word in TYPED.findall(each)}


def test_no_state_reason_or_outcome_is_typed_into_sql_by_hand() -> None:
    assert typed() == OTHERS


def changes(node: ast.AST) -> bool:
    """Whether this is `update(backends)` or `insert(backends)`, of a table imported by that name or not."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
        return False
    table = node.args[0]
    named = table.attr if isinstance(table, ast.Attribute) else table.id if isinstance(table, ast.Name) else ""
    return node.func.id in ("update", "insert") and named == "backends"


def test_only_the_named_transitions_write_a_backends_row() -> None:
    every = dict(modules())
    written = {name: [each for each in texts(module) if WRITES.search(each)] for name, module in every.items()}
    changed = {name for name, module in every.items() if written[name] or any(map(changes, ast.walk(module)))}
    callers = {name for name, module in every.items() if any(map(CALLS.search, texts(module)))}
    assert (changed, callers) == ({HOME, LAID}, {HOME, LAID})
    assert [each for each in written[LAID] if each not in f"{QUARANTINE} {RELEASE}"] == []


@pytest.mark.parametrize(("inner", "outer"), [(DELIVERED, SUCCEEDED), (SUCCEEDED, ANSWERED)])
def test_each_meaning_of_an_outcome_holds_the_narrower_one(inner: tuple[Kind, ...], outer: tuple[Kind, ...]) -> None:
    assert set(inner) < set(outer)
