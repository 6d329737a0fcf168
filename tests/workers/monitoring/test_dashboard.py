"""The dashboard and its provisioning: what Grafana would stumble over, as far as that shows without Grafana."""

import itertools
import re
from typing import Any

import yaml

from tests.machines.tools import ROOT
from tests.watching import RULES, dashboard, panels_of, rules

PROVISIONING = ROOT / "config" / "grafana" / "provisioning"


def drawn() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def test_every_panel_has_a_number_a_title_of_its_own_and_room() -> None:
    assert len({panel["id"] for panel in drawn()}) == len(drawn())
    assert all(panel["title"] for panel in drawn())
    taken = set()
    for panel in drawn():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        cells = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_query_goes_to_the_chosen_data_source_and_names_variables_that_there_are() -> None:
    variables = {each["name"] for each in dashboard()["templating"]["list"]}
    for panel in drawn():
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for panel in panels_of():
        for query in panel.queries:
            assert set(re.findall(r"\$(\w+)", query)) <= {*variables, "__rate_interval", "__range"}, panel


def test_provisioning_has_what_grafana_asks_for() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert {"name", "type", "access", "url", "uid"} <= set(source)
    assert (source["type"], source["access"]) == ("prometheus", "proxy")
    every = yaml.safe_load((RULES / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == every  # what $__rate_interval rests on
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "relais.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")


def test_every_recorded_series_is_asked_for() -> None:
    asked = " ".join(query for panel in panels_of() for query in panel.queries)
    asked += " ".join(rule["expr"] for rule in rules("alerts.yml"))
    assert {rule["record"] for rule in rules("recording.yml") if rule["record"] not in asked} == set()
