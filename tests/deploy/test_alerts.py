"""Alerts and dashboard: each alert fires when it has to and not otherwise, and all ask for what is served."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.alert_cases import CASES, HEALTHY, LONG_CASES, Case
from tests.deploy.chart import CHART, NAMESPACE, objects, of_kind
from tests.deploy.values import LEAST, Object, with_values
from tests.support.metrics_reference import SUFFIXES, documented, documented_of_sdk
from tests.support.stand_ins import CHECKOUT

RULES = CHART / "files" / "alerts.yaml"
RUNBOOK = CHECKOUT / "docs" / "how-to" / "operate"
ON = {"metrics": {"rules": {"enabled": True}, "dashboards": {"enabled": True}}}
PROMTOOL = os.environ.get("TEST_PROMTOOL") or shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="needs promtool, of Debian's package prometheus")

#: What follows an identifier in PromQL that is a function or an aggregation, and what is in braces or quotes.
_NOT_METRICS = re.compile(r"\{[^}]*\}|\"[^\"]*\"|\b(by|without|on|ignoring)\s*\([^)]*\)|\[[^\]]*\]|\$\w+")
_METRIC = re.compile(r"\b(?:moorage|temporal)_\w+\b")


def rules() -> list[Object]:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[Object] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    config = of_kind(objects(with_values(ON)), "ConfigMap", "moorage-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    board: dict[str, Any] = json.loads(config["data"]["moorage.json"])
    return board


def expressions() -> Iterator[tuple[str, str]]:
    """All expressions, with the name of their alert or panel."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def test_expressions_ask_for_metrics_that_are_served() -> None:
    """Ensures that; tests/lifecycle/test_metrics.py holds the page to what a running stack serves."""
    served = documented()
    names = {
        *documented_of_sdk(),
        *served,
        *(name + suffix for name, row in served.items() if row.type == "histogram" for suffix in SUFFIXES),
        *(name + suffix for name in documented_of_sdk() for suffix in SUFFIXES),
    }
    for title, expression in expressions():
        asked = set(_METRIC.findall(_NOT_METRICS.sub("", expression)))
        assert asked, title
        assert asked <= names, f"{title} asks for {asked - names}"


def test_expressions_match_by_labels_that_are_served() -> None:
    """Ensures that no matcher is of a label that its metric does not have: it would match nothing."""
    served = documented()
    for title, expression in expressions():
        for name, matchers in re.findall(r"(moorage_\w+)\{([^}]*)\}", expression):
            row = served[re.sub(r"_(bucket|sum|count)$", "", name)]
            labels = set(re.findall(r"(\w+)\s*[=!]~?\s*\"", matchers))
            assert labels - {"namespace"} <= set(row.labels), f"{title}: {name} has no {labels}"
            assert "namespace" in labels, f"{title} is of all installations"


def test_alerts_are_complete() -> None:
    for rule in rules():
        assert rule["alert"].startswith("Moorage")
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alert_links_to_the_runbook(rule: Object) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    file = RUNBOOK / f"{page}.md"
    assert file.exists(), f"there is no {file.name}"
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert anchor in anchors, f"{file.name} has no heading #{anchor}"


def test_each_alert_has_a_case_for_and_against_it() -> None:
    names = {rule["alert"] for rule in rules()}
    cases = (*CASES, *LONG_CASES)
    assert {alert for case in cases for alert in case.fires} == names
    assert {case.near for case in cases} - {""} == names


def unit_tests(cases: Sequence[Case], healthy: Mapping[str, str], unit: str) -> Object:
    """The cases, as a file of promtool's, with a sample each minute or hour."""
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"1{unit}",
        "tests": [
            {
                "name": case.why,
                "interval": f"1{unit}",
                "input_series": [
                    {"series": _in_namespace(name), "values": values}
                    for name, values in {**healthy, **case.changes}.items()
                    if values is not None
                ],
                "promql_expr_test": [
                    {
                        # All alerts that fire, so that a case shows that no other one does.
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{case.at}{unit}",
                        "exp_samples": [
                            {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in case.fires
                        ],
                    }
                ],
            }
            for case in cases
        ],
    }


def _in_namespace(series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{namespace="{NAMESPACE}"{"," + labels if labels else "}"}'


def promtool(*arguments: str) -> str:
    run = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@needs_promtool
def test_alerts_fire_when_they_have_to(tmp_path: Path) -> None:
    builds = {name: "1x300" for name in HEALTHY if name.startswith("moorage_build_info")}
    files = []
    for number, tests in enumerate((unit_tests(CASES, HEALTHY, "m"), unit_tests(LONG_CASES, builds, "h"))):
        files.append(tmp_path / f"cases-{number}.yaml")
        files[-1].write_text(yaml.safe_dump(tests, sort_keys=False), encoding="utf-8")
    promtool("test", "rules", *map(str, files))


@needs_promtool
def test_rules_of_the_chart_are_valid(tmp_path: Path) -> None:
    """Ensures that what the chart makes of the file is a rule file, with its expressions and templates."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        yaml.safe_dump(of_kind(objects(with_values(ON)), "PrometheusRule")["spec"]), encoding="utf-8"
    )
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(file))


def test_chart_puts_in_what_the_values_say() -> None:
    changes = {
        "metrics": {
            "rules": {
                "runbookUrl": "https://docs.example/operate/{page}/",
                "disabled": ["MoorageOrphans"],
                "labels": {"release": "prometheus"},
                "alertLabels": {"team": "platform", "severity": "page"},
            }
        }
    }
    made = of_kind(objects(with_values(ON, changes)), "PrometheusRule")
    assert made["metadata"]["labels"]["release"] == "prometheus"
    [group] = made["spec"]["groups"]
    assert {rule["alert"] for rule in rules()} - {rule["alert"] for rule in group["rules"]} == {
        "MoorageOrphans"
    }
    for rule in group["rules"]:
        assert rule["labels"] == {"team": "platform", "severity": "page"}
        assert rule["annotations"]["runbook_url"].startswith("https://docs.example/operate/")
        assert f'namespace="{NAMESPACE}"' in rule["expr"]
        assert "namespace=~" not in rule["expr"]
    [first] = [rule for rule in group["rules"] if rule["alert"] == "MoorageTemporalDown"]
    assert first["annotations"]["runbook_url"].startswith("https://docs.example/operate/temporal-down/#")
    chosen = of_kind(
        objects(with_values(ON, {"metrics": {"rules": {"selector": 'job="moorage"'}}})), "PrometheusRule"
    )
    assert 'job="moorage"' in chosen["spec"]["groups"][0]["rules"][0]["expr"]


@pytest.mark.parametrize("selector", ['job=~"a: b"', 'job="a"\nevil: yes', "job='a' # b"])
def test_a_selector_never_leaves_out_the_alerts(selector: str) -> None:
    """Ensures that what means something in YAML is in all rules as it is."""
    values = with_values(ON, {"metrics": {"rules": {"selector": selector}}})
    made = of_kind(objects(values), "PrometheusRule")
    [group] = made["spec"]["groups"]
    assert len(group["rules"]) == len(rules())
    assert all(selector in rule["expr"] for rule in group["rules"])


def test_nothing_is_made_unless_it_is_asked_for() -> None:
    off = with_values(ON, {"metrics": {"enabled": False}})
    for values in (LEAST, off):
        found = objects(values)
        assert not [each for each in found if each["kind"] == "PrometheusRule"]
        assert not [each for each in found if each["metadata"]["name"] == "moorage-dashboard"]


def test_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert board["title"] == "Moorage"
    assert board["uid"] == "moorage"
    variables = {each["name"] for each in board["templating"]["list"]}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, f"{panel['title']} is over another panel"
        places |= cells
        assert panel["type"] in ("row", "stat", "timeseries", "table")
        used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(panel.get("targets", []))))
        assert used <= variables
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(references)) == len(references)


@needs_promtool
def test_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    """Ensures that, by promtool's parser, which reads the rules of a file."""
    named = [
        (title, text) for title, text in expressions() if title in {p["title"] for p in dashboard()["panels"]}
    ]
    recorded = [
        {"record": f"panel:{number}", "expr": text.replace("$namespace", ".*")}
        for number, (_, text) in enumerate(named)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    promtool("check", "rules", str(file))
