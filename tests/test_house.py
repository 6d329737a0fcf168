"""The house: how high it is built, how full its rooms are, and that nobody calls a room by a name that it had."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from orders.audit_codes import AuditCode
from orders.sentences import Code

ROOT = Path(__file__).resolve().parents[1]
LONGEST_CHAIN = 16  # modules, each importing the next
FULLEST_FOLDER = 16  # modules side by side
PICTURES = {".gif", ".pdf", ".png", ".ttf"}

# The modules of version 0.1 that moved or went, by the package in which they were.
GONE = {
    "config": "backends flower_door lines sources steps",
    "orders.api": "answers asked batch desk lives outbox pharmacy placing streaming",
    "orders": (
        "cancelling catalogue cause_reading causes client_answers client_flush client_metrics client_wire clients "
        "entries epochs events evidence grants guards keyring listener logged_steps metrics notice products reach "
        "reading receipt_keys replay_reading routing sampling shedding spill spool spool_file staleness standing "
        "tables tables_acts tables_causes tables_console tables_front tables_products tables_proof "
        "tables_reconcile tables_replays tables_samples tables_tallies tables_trust tables_workers tallying "
        "validation webhook_reading"
    ),
    "orders.pharmaml": "counter deposit replying",
    "workers": (
        "app audit canary check chores circuit claim dispatcher divert fate forecast_arrivals forecast_pace "
        "forecast_reading forecasting gate gates indexer lane limits logged_steps norm notices notify offering "
        "pace polling process publishing quarantine reconcile_listing reconcile_patience reconcile_resend "
        "reconcile_runs recording replays ring sampler settle sim_key space spill stack status steering "
        "supervised suspicion tasks telling term tracing unspill waiting webhook_fate window"
    ),
    "workers.cli": (
        "account auditing clients completing console dead divert exporter forecast grants installing intake keys "
        "live queue reconcile reconcile_report reconcile_resend recovery replay reports sealing sending servers "
        "serving sight simulator space spill spool steps submit trust watch_status watching webhooks worker"
    ),
    "workers.console.access": "doors logins",
    "workers.console.acts": "choosing kinds registry rows running standing telling",
    "workers.console": "desk failing patience prompt shielding words",
    "workers.console.live": "known looking pulse",
    "workers.console.overview": "board telling",
    "workers.console.recovery": "asked ladder lately reading shared showing",
    "workers.console.report": "aside naming shelf",
    "workers.console.search": "asking drawing life masking naming outlook proving",
    "workers.erp": "bisect calling failing trying wire",
    "workers.monitoring": "figures moving surroundings",
    "workers.proof": "anchored anchors content contents drawn plot sealer sealing slices standing",
}


@cache
def modules() -> Mapping[str, Path]:
    """Every module by its dotted name; the migrations are frozen, and no room of the house."""
    found = {}
    for room in ("config", "orders", "workers"):
        for path in (ROOT / room).rglob("*.py"):
            if "migrations" not in path.parts:
                parts = path.relative_to(ROOT).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_with(name: str) -> set[str]:
    """Our modules that Python imports with this one: not those that a function or a type checker asks for."""
    found: set[str] = set()
    for node in at_import(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            within = (f"{node.module}.{each.name}" for each in node.names)
            found |= {each if each in modules() else str(node.module) for each in within}
    return found & {*modules()} - {name}


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from at_import(child)


@cache
def chain(name: str) -> tuple[str, ...]:
    """The longest chain of imports that begins with this module."""
    return (name, *max((chain(each) for each in imported_with(name)), key=len, default=()))


def test_no_chain_of_imports_is_long() -> None:
    longest = max(map(chain, modules()), key=len)
    assert len(longest) <= LONGEST_CHAIN, " -> ".join(longest)


def test_no_folder_is_full() -> None:
    side_by_side = Counter(path.parent.relative_to(ROOT) for path in modules().values())
    assert {str(folder): n for folder, n in side_by_side.items() if n > FULLEST_FOLDER} == {}


def test_a_class_has_its_name_for_itself() -> None:
    where = defaultdict(list)
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(name)
    assert {name: places for name, places in where.items() if len(places) > 1} == {}


def test_a_bound_is_named_for_what_it_bounds() -> None:
    bare = re.compile(r"^(?:MOST|PATIENCE|SILENCE)\b.*", re.M)
    assert {name: found for name, path in modules().items() if (found := bare.findall(path.read_text()))} == {}


def test_nothing_speaks_of_a_module_that_is_gone() -> None:
    gone = [f"{package}.{name}" for package, names in GONE.items() for name in names.split()]
    assert not {*gone} & {*modules()}
    dotted = "|".join(map(re.escape, gone))
    paths = "|".join(re.escape(name.replace(".", "/") + ".py") for name in gone)
    spoken = re.compile(rf"(?<![\w./])(?:{dotted})(?!\w)|(?<![\w/])(?:{paths})")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {}
    for name in listed.rstrip("\0").split("\0"):
        path = ROOT / name
        read = path.suffix not in PICTURES and path.is_file() and path != Path(__file__)
        if read and (said := spoken.findall(path.read_text(errors="replace"))):
            found[name] = said
    assert found == {}


def test_each_migration_follows_the_one_before_it() -> None:
    """Two that were made side by side may have one number: then no journal could be made."""
    versions = sorted((ROOT / "orders" / "migrations" / "versions").glob("[0-9]*.py"))
    found = [re.search(r'^revision = "(\w+)"\ndown_revision = (.+)$', each.read_text(), re.M) for each in versions]
    numbers = [match[1] for match in found if match is not None]
    assert numbers == [each.name[:4] for each in versions]
    assert [match[2].strip('"') for match in found[1:] if match is not None] == numbers[:-1]


PLURALS = (
    "orders|letters|messages|records|blocks|rows|keys|pharmacies|attempts|lines|boxes|backends|workers|replays|"
    "receipts|tasks|tables|seals|faults|pieces|notices|clients|accounts|stages|cut-offs|changes|weeks|days"
)
COUNTED = re.compile(rf"(?<!of )(?<!most )(?<!over )(?<!last )\{{([^{{}}]+)\}} (?:[a-z]+ )?(?:{PLURALS})\b")


def test_one_is_one() -> None:
    """Who tells how many there are of something says `1 order`: by `count`, or by a code that has two renderings."""
    wrong = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                wrong += [f"{name}:{node.lineno}: {said}" for said in _counted(_told(node))]
    wrong += [f"{code}: {said}" for code in (*Code, *AuditCode) if not code.many for said in _counted(code.one)]
    assert not wrong, "\n".join(wrong)


def _counted(told: str) -> list[str]:
    """What is told as a plural; neither a constant of ours nor a rate (`2.5 orders a second`) is ever one."""
    return [said for said in COUNTED.findall(told) if not said.isupper() and not said.endswith("g")]


def _told(node: ast.JoinedStr) -> str:
    """What an f-string says, with `{value}` or `{value:format}` for what it puts in."""
    said = ""
    for each in node.values:
        if isinstance(each, ast.FormattedValue):
            spec = "" if each.format_spec is None else ":" + ast.unparse(each.format_spec).strip("f'\"")
            said += f"{{{ast.unparse(each.value)}{spec}}}"
        elif isinstance(each, ast.Constant):
            said += str(each.value)
    return said
