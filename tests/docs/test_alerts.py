"""Every alert is raised by its real cause, in a test of its own."""

import re

from tests.machines.tools import ROOT
from tests.watching import rules

RAISING = ROOT / "tests" / "acceptance" / "watching" / "test_monitoring.py"


def test_every_alert_is_raised_by_its_cause_in_a_test() -> None:
    raised = re.findall(r'watched\.alert\("(\w+)"', RAISING.read_text())
    assert {*raised} == {rule["alert"] for rule in rules("alerts.yml")}
