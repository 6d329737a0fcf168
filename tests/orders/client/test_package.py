"""The client as a package of its own: built, installed where there is nothing else, and tried against an intake."""

import asyncio
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from uuid import UUID

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config.settings import Settings
from orders.access import clients
from orders.journal import connect
from tests.cli import clean_environment
from tests.intake import serving
from tests.machines.roles import above
from tests.machines.tools import ROOT

PROJECT = ROOT / "clients" / "python"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
IMPORTED = "import relais_client, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
SERVER = {"orders", "config", "workers", "fastapi", "starlette", "sqlalchemy", "asyncpg", "redis", "celery", "uvicorn"}
(SNIPPET,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text("utf-8"), re.DOTALL)


def run(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [*map(str, argv)], cwd=cwd, env=clean_environment({}), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def closure(*names: str) -> Iterator[str]:
    """Each distribution with all that it needs."""
    for name in names:
        yield canonicalize_name(name)
        needed = map(Requirement, distribution(name).requires or ())
        yield from closure(
            *(each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""}))
        )


def alone(directory: Path) -> Path:
    """The Python of an environment that has the wheel, what its metadata asks for, and nothing else."""
    run(sys.executable, "-c", BUILD, directory, cwd=PROJECT)
    (wheel,) = directory.glob("*.whl")
    venv.create(directory / "venv")
    python = directory / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--no-index", "--no-deps", "--no-compile", wheel, cwd=directory)
    (site,) = (directory / "venv" / "lib").glob("*/site-packages")
    (metadata,) = site.glob("relais_client-*.dist-info/METADATA")
    asked = re.findall(r"^Requires-Dist: ([\w-]+)", metadata.read_text("utf-8"), re.MULTILINE)
    assert asked == ["aiohttp", "pydantic", "python-stdnum", "yarl"]
    for name in {*closure(*asked)}:
        found = distribution(name)
        for top in {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}:
            (site / top).symlink_to(Path(str(found.locate_file(top))))
    return python


def test_the_package_works_where_nothing_of_the_server_is_installed(settings: Settings, tmp_path: Path) -> None:
    python = alone(tmp_path)
    assert not {*run(python, "-c", IMPORTED, cwd=tmp_path).split()} & SERVER
    assert [*(tmp_path / "venv" / "lib").glob("*/site-packages/relais_client/py.typed")]
    script = tmp_path / "hand_over.py"
    script.write_text(SNIPPET, "utf-8")

    async def hand_over(url: str, key: str, reference: str) -> str:
        return (await asyncio.to_thread(run, python, script, url, key, reference, cwd=tmp_path)).strip()

    async def main() -> None:
        engine = connect(above(settings.need("database_url")))
        key = await clients.add(engine, "front")
        await engine.dispose()
        async with serving(settings) as url:
            assert UUID((await hand_over(url, key, "HERE")).removeprefix("in Relais as "))
        assert await hand_over("http://127.0.0.1:1", key, "AWAY") == "in the spool as number 1"

    asyncio.run(main())
