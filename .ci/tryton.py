"""Gets a real Tryton for `make test-erp`, run by Relais's own Python.

`.tools/tryton/venv` is made from a lock of its own; `.tools/tryton/seed` holds the files of a PostgreSQL with a company
in it, from which every test copies.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from config.embedded.leash import Leash  # noqa: E402
from config.embedded.ports import choose  # noqa: E402
from config.embedded.postgres import Postgres  # noqa: E402
from orders.rules.catalogue import demo_catalogue  # noqa: E402
from tests.machines import tryton  # noqa: E402
from tests.machines.erp import MEDICINES  # noqa: E402

LOCK = ROOT / "tests" / "conformance" / "tryton.lock"
SETUP = ROOT / "tests" / "conformance" / "tryton_setup.py"
MODULES = ("sale", "sale_price_list")


def main() -> None:
    """Make what is not there, or was made from other files."""
    made_of = (*(path.read_bytes() for path in (LOCK, SETUP, Path(__file__))), world().encode())
    wanted = hashlib.sha256(b"".join(made_of)).hexdigest()
    if tryton.READY.exists() and tryton.READY.read_text() == wanted:
        return
    print("Making .tools/tryton: Tryton in a virtual environment of its own, and a company in it", flush=True)
    shutil.rmtree(tryton.HOME, ignore_errors=True)
    tryton.HOME.mkdir(parents=True)
    run(sys.executable, "-m", "venv", str(tryton.HOME / "venv"))
    run(str(tryton.BIN / "pip"), "install", "--quiet", "--require-hashes", "-r", str(LOCK))
    plant()
    tryton.READY.write_text(wanted)


def plant() -> None:
    """Make the company's database, and keep PostgreSQL's files when it is stopped."""
    postgres = Postgres(tryton.SEED, choose(), settings={"fsync": "off"})
    with Leash() as leash:
        postgres.start(leash)
        try:
            config = tryton.configuration(tryton.SEED, postgres, choose())
            password = tryton.SEED / "admin.password"
            password.write_text(tryton.PASSWORD)
            admin = (str(tryton.BIN / "trytond-admin"), "-c", str(config), "-d", tryton.DATABASE)
            run(str(tryton.BIN / "python"), str(SETUP), "create", postgres.database_url("postgres"), tryton.DATABASE)
            run(
                *admin,
                "--email",
                "admin@example.com",
                "-u",
                *MODULES,
                "--activate-dependencies",
                TRYTONPASSFILE=str(password),
            )
            run(
                str(tryton.BIN / "python"),
                str(SETUP),
                "fill",
                postgres.database_url(tryton.DATABASE),
                str(config),
                world(),
            )
        finally:
            postgres.stop()


def world() -> str:
    """What the company sells, to whom and from where."""
    return json.dumps(
        {
            "products": [*dict.fromkeys((*MEDICINES, *demo_catalogue()))],
            "pharmacies": [*tryton.PHARMACIES, *tryton.CUSTOMERS],
            "price_lists": tryton.PRICE_LISTS,
            "warehouses": [tryton.WAREHOUSE],
        }
    )


def run(*words: str, **env: str) -> None:
    """Run a step; its failure ends this."""
    said = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **env}
    if code := subprocess.run(words, check=False, cwd=ROOT, env=said).returncode:
        sys.exit(f"failed with {code}: {' '.join(words[:4])}")


if __name__ == "__main__":
    main()
