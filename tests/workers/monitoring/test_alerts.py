"""The alert rules and Prometheus' configuration, by promtool, and what they lean on: the runbook and the metrics."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.machines.tools import ROOT, promtool
from tests.watching import metrics_in, panels_of, rules

CONFIG = ROOT / "config" / "prometheus"
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}


def test_promtool_finds_the_rules_and_the_configuration_right(tmp_path: Path) -> None:
    checked = promtool("check", "rules", "alerts.yml", "recording.yml", cwd=CONFIG)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    token = tmp_path / "token"
    token.touch()
    for name in ("prometheus.yml", "alerts.yml", "recording.yml"):
        (tmp_path / name).write_text(
            (CONFIG / name).read_text().replace("/run/secrets/relais_metrics_token", str(token))
        )
    checked = promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_when_it_should_and_clears() -> None:
    tested = promtool("test", "rules", "alerts_test.yml", cwd=CONFIG)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    checks = [
        check
        for test in yaml.safe_load((CONFIG / "alerts_test.yml").read_text())["tests"]
        for check in test["alert_rule_test"]
    ]
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == set(ALERTS)
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == set(ALERTS)


@pytest.mark.parametrize("rule", rules("alerts.yml"), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert "First: " in rule["annotations"]["description"]


def test_every_alert_has_its_page_in_the_runbook() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    } | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for alert, rule in ALERTS.items():
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert file == "docs/runbook.md"
        assert anchor in anchors, f"{alert}: {anchor}"


def test_rules_and_dashboard_name_only_metrics_that_there_are() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"`(relais_[a-z0-9_]+)", text))
    records = {rule["record"] for rule in rules("recording.yml")}
    asked = {metric for rule in (*rules("alerts.yml"), *rules("recording.yml")) for metric in metrics_in(rule["expr"])}
    asked |= {metric for panel in panels_of() for query in panel.queries for metric in metrics_in(query)}
    assert len(asked) > 30
    assert asked - known - records == set()


def test_the_docs_list_every_alert() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    assert re.findall(r"^\| `(Relais\w+)` \|", text, re.MULTILINE) == list(ALERTS)
