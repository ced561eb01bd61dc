"""The files of deploy/prometheus and deploy/grafana are what their programs take, and lead to sections that exist."""

import json
import re
import subprocess

import pytest
import yaml

from tests.e2e.prometheus import FILES, TOKEN_FILE, needs_prometheus, write_files
from tests.support.stack import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
OPERATIONS = ROOT / "docs" / "operations.md"


def promtool(*arguments, folder=FILES):
    return subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)


@needs_prometheus
def test_promtool_takes_the_configuration_and_the_rules(tmp_path):
    (tmp_path / "token").touch()
    checked = promtool("check", "config", write_files(tmp_path, {TOKEN_FILE: str(tmp_path / "token")}))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_prometheus
def test_each_alert_fires_when_it_should():
    tried = promtool("test", "rules", "rules_test.yml")
    assert tried.returncode == 0, tried.stdout + tried.stderr


def alerts():
    groups = yaml.safe_load((FILES / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_each_alert_is_tried():
    tried = (FILES / "rules_test.yml").read_text()
    assert [alert["alert"] for alert in alerts() if f"alertname: {alert['alert']}\n" not in tried] == []


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_has_its_section(alert):
    document, _hash, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / document).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-").replace("`", "") for heading in headings}


def test_the_dashboard_is_where_grafana_looks_for_it():
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "tally.yml").read_text())["providers"]
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    board = json.loads((GRAFANA / "dashboards" / "tally.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["targets"] for panel in panels)


def test_every_metric_is_explained():
    """Those of the rules and of the dashboard, in the document for operators."""
    text = (FILES / "rules.yml").read_text() + (GRAFANA / "dashboards" / "tally.json").read_text()
    names = set(re.findall(r"\b(?:tally|gen_ai_server|gen_ai_client)_[a-z_]+[a-z]\b", text))
    names = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in names}
    explained = OPERATIONS.read_text()
    assert [name for name in sorted(names) if f"`{name}" not in explained] == []
    assert len(names) > 20
