"""What watches Relais, for tests: the rules and the dashboard as they are in `config/`, and a real Prometheus that
evaluates the rules on real exporters, faster than in production: every duration of the rules is shortened alike.
"""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process, Program
from tests.machines.tools import ROOT, program
from tests.waiting import until

RULES = ROOT / "config" / "prometheus"
DASHBOARD = ROOT / "config" / "grafana" / "relais.json"
TICK = 1.0  # seconds from one scrape, and one evaluation, to the next
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
RANGE = re.compile(r"\[(\d+)([smhd])\]")


def rules(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    return [rule for group in yaml.safe_load((RULES / name).read_text())["groups"] for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression names; of a histogram its own name."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:\w+:)?relais[_:][a-z0-9_:]+", bare)}


class Panel(NamedTuple):
    """A panel of the dashboard, or a variable or annotation of it, and what it asks."""

    title: str
    queries: tuple[str, ...]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana would load it."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels_of() -> list[Panel]:
    """Everything in the dashboard that asks Prometheus, but for its variables."""
    board = dashboard()
    panels = [
        Panel(panel["title"], tuple(target["expr"] for target in panel["targets"]))
        for panel in board["panels"]
        if panel["type"] != "row"
    ]
    return [*panels, *(Panel(each["name"], (each["expr"],)) for each in board["annotations"]["list"])]


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **query: str) -> Any:
        """What an endpoint of the API answers under `data`; AssertionError when it is an error."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            content = json.load(answer)
        assert content["status"] == "success", content
        return content["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self, alert: str, **labels: str) -> bool:
        """Whether an alert fires with these labels."""
        return any(
            each["state"] == "firing"
            and each["labels"]["alertname"] == alert
            and all(each["labels"].get(name) == value for name, value in labels.items())
            for each in self.ask("alerts")["alerts"]
        )

    def fires(self, alert: str, timeout: float = 30, **labels: str) -> None:
        """Wait until it does."""
        until(lambda: self.firing(alert, **labels), timeout, 0.2, f"{alert} fires")

    def clears(self, alert: str, timeout: float = 30, **labels: str) -> None:
        """Wait until it does no longer."""
        until(lambda: not self.firing(alert, **labels), timeout, 0.2, f"{alert} clears")


def quickened(text: str, factor: float, sooner: Mapping[str, str]) -> str:
    """Rules with every `for` and range divided by `factor`, at least two and four ticks, and with some words of their
    expressions, such as thresholds of age, replaced.
    """
    document = yaml.safe_load(text)
    for was in sooner:
        assert was in text, was
    for rule in (rule for group in document["groups"] for rule in group["rules"]):
        for was, now in sooner.items():
            rule["expr"] = re.sub(re.escape(was) + r"\b", now, rule["expr"])
        rule["expr"] = RANGE.sub(lambda found: f"[{_shorter(*found.groups(), factor, 4)}]", rule["expr"])
        if "for" in rule:
            rule["for"] = _shorter(rule["for"][:-1], rule["for"][-1], factor, 2)
    return yaml.safe_dump(document)


def _shorter(number: str, unit: str, factor: float, ticks: int) -> str:
    return f"{max(TICK * ticks, int(number) * SECONDS[unit] / factor) * 1000:.0f}ms"


@contextmanager
def prometheus(
    leash: Leash,
    work: Path,
    targets: Mapping[str, str],
    token: str,
    *,
    factor: float = 120,
    sooner: Mapping[str, str] | None = None,
) -> Iterator[Prometheus]:
    """A Prometheus on the project's own configuration, in an empty folder; `targets` are host:port by job.

    A job that is not among them asks nobody.
    """
    config = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["global"] = dict.fromkeys(config["global"], f"{TICK * 1000:.0f}ms")
    (work / "token").write_text(token)
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}] if job["job_name"] in targets else []
        if "authorization" in job:
            job["authorization"] = {"credentials_file": str(work / "token")}
        if job["job_name"] in targets:
            job |= {"scrape_interval": f"{TICK * 1000:.0f}ms", "scrape_timeout": f"{TICK * 1000:.0f}ms"}
    (work / "prometheus.yml").write_text(yaml.safe_dump(config))
    wanted = {"alerts.yml": sooner or {}, "recording.yml": {}}
    assert set(config["rule_files"]) == set(wanted)
    for name, words in wanted.items():
        (work / name).write_text(quickened((RULES / name).read_text(), factor, words))
    url = f"127.0.0.1:{choose()}"
    options = (f"--config.file={work / 'prometheus.yml'}", f"--storage.tsdb.path={work / 'tsdb'}")
    argv = (program("prometheus"), *options, f"--web.listen-address={url}")
    process = Process(Program("prometheus", argv, work / "prometheus.log", {}, grace=10.0))
    leash.hold(process.mark)
    try:
        until(lambda: _ready(f"http://{url}") or process.poll() is not None, 30, what="prometheus is ready")
        assert process.poll() is None, (work / "prometheus.log").read_text()[-3000:]
        yield Prometheus(f"http://{url}")
    finally:
        process.end()
        leash.drop(process.mark)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
