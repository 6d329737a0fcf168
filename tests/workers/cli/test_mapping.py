"""`relais mapping`: files as people have them, what is said of bad ones, and what an import does."""

import json
from pathlib import Path
from unittest import mock

import pytest

from config.settings import Settings
from orders.states import CodeKind
from tests.cli import CommandLine, environment
from tests.journal import Journal
from workers.cli.files.mapping_file import MOST_FAULTS, BadMappingFile, read_mapping_file

GOOD, OTHER = "3400937318044", "3400938615470"
PRODUCTS = f"product,article\n{GOOD},A1\n{OTHER},A2\n"


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    """Of a backend whose connector asks for a mapping."""
    own = tmp_path / "own.toml"
    own.write_text('database = "erp"\nuser = "relais"\npassword_file = "none"\ncompany = 1\ncurrency = 1\n')
    env = environment(settings) | {"RELAIS_ERP_URL": "http://127.0.0.1:1", "RELAIS_ERP_KIND": "tryton"}
    return CommandLine(capsys, {**env, "RELAIS_ERP_CONNECTOR": str(own), "RELAIS_OPERATOR": "alice"})


def unmapped(journal: Journal, **fields: object) -> None:
    """A dead letter of this reason, as a worker leaves it."""
    ids = journal.accept(1, **fields)
    journal.bury(ids, "unmapped")


def faults(tmp_path: Path, content: str | bytes) -> list[str]:
    """What is said of a file of which nothing is imported."""
    path = tmp_path / "mapping.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadMappingFile) as bad:
        read_mapping_file(path)
    return [str(each) for each in bad.value.faults]


@pytest.mark.parametrize(
    ("content", "kind", "targets"),
    [
        (PRODUCTS, CodeKind.PRODUCT, {GOOD: ("A1", None, None), OTHER: ("A2", None, None)}),
        ("\ufeffCIP;Code article\r\n3731804;A 1\r\n\r\n", CodeKind.PRODUCT, {GOOD: ("A 1", None, None)}),
        (
            'Officine;Numéro client;Tarif;Dépôt\nP1;C1;T1;\nP2;C2;;"D;2"\n',
            CodeKind.PHARMACY,
            {"P1": ("C1", "T1", None), "P2": ("C2", None, "D;2")},
        ),
        ("customer,pharmacy\n0012,990000002", CodeKind.PHARMACY, {"990000002": ("0012", None, None)}),
    ],
)
def test_a_file_is_read_as_people_have_it(
    tmp_path: Path, content: str, kind: CodeKind, targets: dict[str, tuple[str, str | None, str | None]]
) -> None:
    path = tmp_path / "mapping.csv"
    path.write_bytes(content.encode())
    found, unused = read_mapping_file(path)
    assert (found.kind, found.targets, unused) == (kind, targets, [])


def test_every_fault_is_named_by_its_line(tmp_path: Path) -> None:
    rows = [
        "product,article,label",
        f"{GOOD},A1,one",
        "3400937318045,A2,a wrong digit",
        f"{OTHER},,no article",
        "12,,both",
        f"{OTHER},A3,",
        f"{GOOD},A4,twice",
        f"{OTHER}",
        f'"{OTHER},A5,"',
        f'{OTHER},"A5,quote',
        "3400932648047," + "x" * 65 + ",",
        "3400932648047,a\x07b,",
    ]
    assert faults(tmp_path, "\n".join(rows)) == [
        "line 3, product: its check digit is wrong",
        "line 4, article: is empty",
        "line 5, article: is empty",
        "line 5, product: must be 13 digits (CIP13, ACL13, UCD13) or the 7 of a CIP7",
        f"line 6, product: {OTHER} stands on line 4 already",
        f"line 7, product: {GOOD} stands on line 2 already",
        "line 8: 1 columns, and the header has 3",
        "line 9: 1 columns, and the header has 3",
        "line 10: a quotation mark is missing, or one too many",
        "line 11, article: must be at most 64 characters",
        "line 12, article: must not hold control characters",
        "line 12, product: 3400932648047 stands on line 11 already",
    ]


NO_HEADER = (
    "line 1: its header is none of a mapping's, which is product,article or pharmacy,customer[,price_list][,warehouse]"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", NO_HEADER),
        (b"\n\n", NO_HEADER),
        (b"product,label\n1,2\n", NO_HEADER),
        (b"product,article,pharmacy,customer\n", NO_HEADER),
        (b"PK\x03\x04,\n", NO_HEADER),
        (b"product,article,cip13\n", "line 1, product: there are two columns for it"),
        (b"product,article\n", "line 1: it has no rows"),
        (
            b"pharmacy,customer\nP 1,C1\n",
            "line 2, pharmacy: must be 1 to 32 of A-Z, a-z, 0-9, dot, dash and underscore",
        ),
        ("pharmacy,customer\nP1,C1\n".encode("utf-16"), "line 1: not UTF-8: save the file as CSV in UTF-8"),
        ("pharmacy,customer\nP1,dépôt\n".encode("cp1252"), "line 2: not UTF-8: save the file as CSV in UTF-8"),
        (b"pharmacy,customer\nP1," + b"x" * 5000, "line 2: longer than 4096 bytes"),
        (b"\0" * 100_000, "line 1: longer than 4096 bytes"),
    ],
)
def test_of_what_is_no_mapping_it_is_said_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    assert faults(tmp_path, content) == [said]


def test_a_hundred_faults_are_told_and_that_there_are_more(relais: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text("product,article\n" + "1,A\n" * MOST_FAULTS)
    exactly = relais("mapping", "import", str(path), "--because", "a test", "--yes")
    assert (exactly.code, exactly.err) == (2, f"relais: {path}: nothing was imported: 100 faults\n")
    assert len(exactly.out.splitlines()) == 100
    assert exactly.out.splitlines()[99].startswith("line 101, product: must be 13 digits")
    path.write_text("product,article\n" + "1,A\n" * 1000)
    many = relais("mapping", "import", str(path), "--because", "a test", "--yes")
    assert many.out.splitlines()[100:] == ["and more"]
    assert many.err == f"relais: {path}: nothing was imported: more than 100 faults\n"
    document = json.loads(relais("mapping", "import", str(path), "--because", "a test", "--json").out)
    assert (document["imported"], len(document["faults"]), document["more"]) == (False, 100, True)


def test_an_import_is_shown_asked_for_and_recorded(relais: CommandLine, journal: Journal, tmp_path: Path) -> None:
    unmapped(journal)
    unmapped(journal, lines=[{"product": OTHER, "quantity": 1}], pharmacy="P2")
    path = tmp_path / "mapping.csv"
    path.write_text("pharmacy,customer,phone\nP1,C1,01\n")
    assert relais("mapping", "import", str(path), "--because", "new ERP", "--yes").out.splitlines()[-1] == (
        "1 code imported for erp, version 1; 0 dead letters replayed."
    )
    path.write_text(PRODUCTS)
    asked = relais("mapping", "import", str(path), "--because", "new ERP")
    assert (asked.code, asked.err.splitlines()[-1]) == (
        2,
        "relais: nobody can be asked here: say --yes, or --dry-run to look only",
    )
    looked = json.loads(relais("mapping", "import", str(path), "--dry-run", "--json").out)
    assert looked == {
        "backend": "erp",
        "kind": "product",
        "imported": False,
        "version": 2,
        "new": 2,
        "changed": 0,
        "removed": 0,
        "unchanged": 0,
        "orders": 1,
    }
    assert journal.sql("SELECT count(*) FROM mappings") == [(1,)]
    done = json.loads(relais("mapping", "import", str(path), "--because", "new ERP", "--yes", "--json").out)
    assert done == {**looked, "imported": True}
    assert journal.sql("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state") == [
        ("accepted", 1),
        ("dead", 1),
    ]
    again = relais("mapping", "import", str(path), "--because", "new ERP", "--yes")
    assert again.out.splitlines()[-1] == "Nothing is new: erp has it mapped like that."
    assert journal.operations() == [("mapping import", "new ERP"), ("replay", "new ERP"), ("mapping import", "new ERP")]


def test_a_no_does_nothing(relais: CommandLine, journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(PRODUCTS)
    with mock.patch("sys.stdin.isatty", return_value=True), mock.patch("typer.confirm", return_value=False) as asked:
        done = relais("mapping", "import", str(path), "--because", "new ERP")
    assert (done.code, done.err) == (1, "relais: nothing was done\n")
    assert asked.call_args.args == ("Import 2 of 2 codes for erp, and replay 0 dead letters?",)
    assert journal.sql("SELECT count(*) FROM mappings") == [(0,)]


def test_what_is_mapped_is_shown_with_who_imported_it(relais: CommandLine, journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    for content in (PRODUCTS, f"product,article\n{GOOD},B1\n"):
        path.write_text(content)
        assert relais("mapping", "import", str(path), "--because", "new ERP", "--yes", "--replace").code == 0
    (row,) = json.loads(relais("mapping", "show", "--json").out)
    assert (row["code"], row["target"], row["version"], row["by"]) == (GOOD, "B1", 2, "alice")
    assert relais("mapping", "show").err == "erp has 1 product and 0 pharmacies mapped, as of version 2.\n"
    old = relais("mapping", "show", "3731804", "--json")  # the CIP7 of GOOD
    assert [each["target"] for each in json.loads(old.out)] == ["B1", "A1"]
    gone = relais("mapping", "show", OTHER, "P9", "--json")
    assert [each["target"] for each in json.loads(gone.out)] == [None, "A2"]
    assert (gone.code, gone.err) == (1, f"relais: not mapped for erp: {OTHER}, P9\n")


def test_coverage_says_which_codes_of_the_last_orders_are_not_mapped(
    relais: CommandLine, journal: Journal, tmp_path: Path
) -> None:
    nothing = relais("mapping", "coverage")
    assert (nothing.code, nothing.err) == (0, "Every code of 0 orders of erp is mapped.\n")
    journal.accept(2)
    journal.accept(1, pharmacy="P2", lines=[{"product": OTHER, "quantity": 1}, {"product": GOOD, "quantity": 1}])
    path = tmp_path / "mapping.csv"
    path.write_text(f"product,article\n{GOOD},A1\n")
    assert relais("mapping", "import", str(path), "--because", "new ERP", "--yes").code == 0
    found = relais("mapping", "coverage", "--json")
    report = json.loads(found.out)
    assert (report["orders"], report["unmapped_orders"], report["unmapped_codes"]) == (3, 3, 3)
    assert report["codes"] == [
        {"kind": "pharmacy", "code": "P1", "orders": 2},
        {"kind": "pharmacy", "code": "P2", "orders": 1},
        {"kind": "product", "code": OTHER, "orders": 1},
    ]
    assert (found.code, found.err) == (1, "relais: 3 codes of 3 orders, of 3 orders of erp, are not mapped\n")
    path.write_text("pharmacy,customer\nP1,C1\nP2,C2\n")
    assert relais("mapping", "import", str(path), "--because", "new ERP", "--yes").code == 0
    one = relais("mapping", "coverage", "--over", "1h")
    assert (one.code, one.err) == (1, "relais: 1 code of 1 order, of 3 orders of erp, is not mapped\n")
    assert OTHER in one.out
    path.write_text(PRODUCTS)
    assert relais("mapping", "import", str(path), "--because", "new ERP", "--yes").code == 0
    assert relais("mapping", "coverage").err == "Every code of 3 orders of erp is mapped.\n"


def test_a_connector_that_needs_no_mapping_lacks_none(
    settings: Settings, capsys: pytest.CaptureFixture[str], journal: Journal
) -> None:
    relais = CommandLine(capsys, environment(settings) | {"RELAIS_ERP_URL": "http://127.0.0.1:1"})
    journal.accept(2)
    told = relais("mapping", "coverage")
    assert (told.code, told.err) == (0, "The connector of erp (http) needs no mapping: it gets 2 orders as they are.\n")
    report = json.loads(relais("mapping", "coverage", "--json").out)
    assert (report["needed"], report["orders"], report["unmapped_codes"], report["codes"]) == (False, 2, 0, [])


def test_a_backend_that_is_not_known_is_refused(relais: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(PRODUCTS)
    for command in (("import", str(path), "--because", "new ERP", "--yes"), ("show",), ("coverage",)):
        done = relais("mapping", *command, "--backend", "nowhere")
        assert (done.code, done.err) == (1, "relais: no backend nowhere is known here; known are erp\n")
