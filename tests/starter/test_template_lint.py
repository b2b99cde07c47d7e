"""`moorage templates check`: everything about a folder of templates at once, for people and for programs."""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from clients.errors import ClientError, Rejected, Unreachable
from clients.host.models import Chart
from clients.host.protocol import Host
from contracts.templates.supported_charts import NEWEST_TESTED, OLDEST_TESTED
from starter.catalogue.lint import check_catalogue, check_on_hosts
from starter.catalogue.loader import STARTER_TEMPLATES, load_catalogue
from tests.clients.test_safe_yaml import bomb, nested
from tests.starter.test_catalogue import GOOD
from tests.support.processes import Ended, run_module

#: A day on which the chart of the shipped templates was supported.
SUPPORTED = date(2026, 1, 1)
SHOWN = f"{OLDEST_TESTED} to {NEWEST_TESTED}"


def check(*arguments: str, **variables: str) -> Ended:
    """The command, with no settings but these."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    return run_module("moorage", ["templates", "check", *arguments], env | variables)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good template."""
    (tmp_path / "small.yaml").write_text(GOOD)
    return tmp_path


def test_the_shipped_templates_have_neither_problem_nor_warning() -> None:
    """Ensures that what Moorage brings along is good, as long as its chart is supported."""
    found = check_catalogue(STARTER_TEMPLATES, {}, SUPPORTED)
    assert (found.well, found.problems, found.warnings) == (True, (), ())


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("  warnings: [10h, 1h]\n", "small.yaml:14:14: ttl.warnings.0: 10h before its end is before"),
        ("hosts: {tier: gpu}\n", "small.yaml:14:1: hosts: no host cluster of the settings bears tier=gpu"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(folder: Path, more: str, expected: str) -> None:
    """Ensures that what can be used all the same is said, and does not stop anything."""
    (folder / "small.yaml").write_text(GOOD + more)
    found = check_catalogue(folder, {"one": {"tier": "cpu"}}, SUPPORTED)
    [warning] = found.warnings
    assert expected in str(warning)
    assert found.well


def test_a_life_that_is_over_too_soon_is_a_warning(folder: Path) -> None:
    """Ensures that a default shorter than anybody may ask for is said."""
    (folder / "small.yaml").write_text(GOOD.replace("default: 8h", "default: 1m"))
    [warning] = check_catalogue(folder, {}, SUPPORTED).warnings
    assert str(warning).endswith(
        "ttl.default: 1m may be over before it is ready: at least 5m, as for those who ask"
    )


@pytest.mark.parametrize(
    ("version", "today", "expected"),
    [
        (
            "0.30.0",
            SUPPORTED,
            f"0.30.0 is older than what is shown to work: {SHOWN}",
        ),
        (
            "99.0.0",
            SUPPORTED,
            f"99.0.0 is newer than what is shown to work: {SHOWN}",
        ),
        ("~0.36", SUPPORTED, "~0.36 is not one release"),
        ("0.36.1", date(2030, 1, 1), "0.36.1 is past its support, which ended on 2026-10-22"),
    ],
)
def test_chart_that_is_not_shown_to_work_is_a_warning(
    folder: Path, version: str, today: date, expected: str
) -> None:
    """Ensures that such a template is named with its line, and can be used all the same."""
    (folder / "small.yaml").write_text(GOOD.replace(f"version: {NEWEST_TESTED}", f"version: {version}"))
    found = check_catalogue(folder, {}, today)
    [warning] = found.warnings
    assert f"small.yaml:4:3: chart.version: {expected}" in str(warning)
    assert found.well


@pytest.mark.parametrize(
    ("repository", "warned"),
    [
        ("oci://r.example.com/charts", True),
        ("https://charts.example.com", True),
        ("http://mirror", True),
        ("https://charts.loft.sh/", False),
        ("/srv/charts", False),
        ('""', False),
    ],
)
def test_chart_of_a_foreign_repository_without_a_digest_is_a_warning(
    folder: Path, repository: str, warned: bool
) -> None:
    """Ensures that it is said where a version can change, and only until there is a digest."""
    text = GOOD.replace("chart:\n", f"chart:\n  repository: {repository}\n")
    (folder / "small.yaml").write_text(text)
    found = check_catalogue(folder, {}, SUPPORTED)
    assert found.well
    assert ["chart.digest: is missing: " in str(warning) for warning in found.warnings] == [True] * warned
    (folder / "small.yaml").write_text(text.replace("chart:\n", f"chart:\n  digest: sha256:{'0' * 64}\n"))
    assert check_catalogue(folder, {}, SUPPORTED).warnings == ()


def test_labels_that_a_host_bears_or_that_are_unknown_are_no_warning(folder: Path) -> None:
    """Ensures that a host with these labels, among others, is enough, and that no settings are none."""
    (folder / "small.yaml").write_text(f"{GOOD}hosts: {{tier: gpu}}\n")
    assert not check_catalogue(folder, {"a": {}, "b": {"tier": "gpu", "zone": "1"}}, SUPPORTED).warnings
    assert not check_catalogue(folder, {}, SUPPORTED).warnings


def test_a_good_folder_is_reported_as_good(folder: Path) -> None:
    """Ensures exit code 0, and the templates with their versions on standard output."""
    done = check(str(folder))
    assert done.code == 0, done.err
    assert "small" in done.out
    assert "1 template, no problem" in done.err


def test_every_problem_of_every_file_is_a_line(folder: Path) -> None:
    """Ensures exit code 2, and one sentence a problem, as editors jump to it; warnings beside them."""
    (folder / "small.yaml").write_text(f"{GOOD.replace('4Gi', 'much')}teems: [blue]\n")
    (folder / "big.yaml").write_text(f"{GOOD}  warnings: [9h]\n")
    (folder / "bad.yaml").write_text("version: [")
    done = check(str(folder))
    assert done.code == 2
    for expected in (
        f'{folder}/small.yaml:8:3: size.memory: "much" is not a Kubernetes quantity',
        f'{folder}/small.yaml:14:1: teems: there is no such field: did you mean "teams"?',
        f"{folder}/bad.yaml:2:1: is not valid YAML",
        f"warning: {folder}/big.yaml:14:14: ttl.warnings.0: 9h before its end",
        "3 problems",
    ):
        assert expected in done.err, done.err


def test_programs_get_all_of_it_as_one_document(folder: Path) -> None:
    """Ensures that with --output json problems and warnings have file, line, column, field and sentence."""
    (folder / "small.yaml").write_text(f"{GOOD}teems: [blue]\n")
    done = check(str(folder), "--output", "json")
    assert done.code == 2
    found: dict[str, Any] = json.loads(done.out)
    assert found["well"] is False
    [problem] = found["problems"]
    assert problem == {
        "file": f"{folder}/small.yaml",
        "line": 14,
        "column": 1,
        "field": "teems",
        "message": 'there is no such field: did you mean "teams"?',
    }
    assert json.loads(done.err)["exit_code"] == 2


def test_scalars_are_those_of_kubernetes(folder: Path) -> None:
    """Ensures that the command takes a time of day for text, as kubectl does, and not for 1350."""
    scalars = "{window: 22:30, day: 2024-05-01, none: 0000-00-00, mode: 0o17, sum: =}"
    (folder / "small.yaml").write_text(f"{GOOD}hosts: {{day: 2024-05-01}}\nvalues: {{a: {scalars}}}\n")
    hosts = {"MOORAGE_HOSTS__ONE__KIND": "simulated", "MOORAGE_HOSTS__ONE__TOKEN_FILE": str(folder / "none")}
    done = check(str(folder), **hosts)
    assert done.code == 0, done.err
    assert "no host cluster of the settings bears day=2024-05-01" in done.err
    [template] = load_catalogue(folder).offered_to([])
    assert template.values == {
        "a": {"window": "22:30", "day": "2024-05-01", "none": "0000-00-00", "mode": 15, "sum": "="}
    }
    (folder / "small.yaml").write_text(GOOD.replace("memory: 4Gi", "memory: 22:30"))
    done = check(str(folder))
    assert done.code == 2
    assert 'size.memory: "22:30" is not a Kubernetes quantity' in done.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (f"values: {nested(100_000)}\n", "is nested in more than 100 levels"),
        (bomb(14), "holds aliases that add"),
    ],
    ids=["depth", "aliases"],
)
def test_what_would_hold_the_process_is_a_problem(folder: Path, more: str, words: str) -> None:
    (folder / "small.yaml").write_text(GOOD + more)
    done = check(str(folder))
    assert (done.code, words in done.err) == (2, True), done.err


def test_without_a_folder_it_is_the_one_of_the_settings(folder: Path) -> None:
    """Ensures that the command finds folder and hosts' labels in the settings, and needs no others."""
    (folder / "small.yaml").write_text(f"{GOOD}hosts: {{tier: gpu}}\n")
    config = folder / "moorage.toml"
    config.write_text(f'templates = "{folder}"\n[hosts.one]\nkind = "simulated"\nlabels = {{tier = "cpu"}}\n')
    done = check("--output", "json", MOORAGE_CONFIG=str(config))
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [template["name"] for template in found["templates"]] == ["small"]
    assert any("tier=gpu" in warning["message"] for warning in found["warnings"])


def test_a_folder_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    """Ensures that no folder is bad input, in a sentence."""
    done = check(str(tmp_path / "nowhere"))
    assert done.code == 2
    assert "cannot be read" in done.err


def test_hosts_are_known_from_variables_and_no_credential_is_needed(folder: Path) -> None:
    """Ensures that labels in one variable are read, beside credentials that cannot be read here."""
    (folder / "small.yaml").write_text(f"{GOOD}hosts: {{tier: gpu}}\n")
    known = {
        "MOORAGE_HOSTS__ONE__KIND": "simulated",
        "MOORAGE_HOSTS__ONE__TOKEN_FILE": str(folder / "nowhere"),
    }
    done = check(str(folder), **known, MOORAGE_HOSTS__ONE__LABELS="zone=eu, tier=gpu")
    assert (done.code, "tier=gpu" in done.err) == (0, False), done.err
    done = check(str(folder), **known, MOORAGE_HOSTS__ONE__LABELS="zone=eu")
    assert (done.code, "bears tier=gpu" in done.err) == (0, True), done.err


class Judging:
    """A host that refuses templates with these values, or does not answer."""

    name = "h"

    def __init__(self, error: ClientError | None = None) -> None:
        self.error = error

    def planned_overlay(self, namespace: str, release: str) -> dict[str, Any]:
        return {}

    async def check_release(self, chart: Chart, values: dict[str, Any]) -> None:
        if self.error and (isinstance(self.error, Unreachable) or "sync" in values):
            raise self.error


async def test_what_a_host_refuses_is_reported_with_file_and_line(folder: Path) -> None:
    """Ensures that what cannot be made on a host of its labels is a problem, and no other host is asked."""
    (folder / "big.yaml").write_text(GOOD + "hosts: {tier: gpu}\nvalues: {sync: {}}\n")
    refusing = Judging(Rejected("host h", "check", "it needs more than our role has"))
    hosts = cast(dict[str, Host], {"cpu": refusing, "gpu": refusing})
    labels = {"cpu": {"tier": "cpu"}, "gpu": {"tier": "gpu"}}
    found = await check_on_hosts(
        check_catalogue(folder, labels, SUPPORTED), hosts, labels, "ours000000", "mrg"
    )
    [problem] = found.problems
    assert not found.well
    assert str(problem).endswith(
        "big.yaml:15:1: values: cannot be made on host gpu: it needs more than our role has"
    )


async def test_a_host_that_cannot_be_asked_is_a_warning(folder: Path) -> None:
    """Ensures that a host which is away does not make a template wrong."""
    away = Judging(Unreachable("host h", "check", "no answer within 30 s"))
    found = check_catalogue(folder, {"h": {}}, SUPPORTED)
    found = await check_on_hosts(found, cast(dict[str, Host], {"h": away}), {"h": {}}, "ours000000", "mrg")
    assert found.well
    assert "host h cannot be asked" in str(found.warnings[-1])
    assert "no answer within 30 s" in str(found.warnings[-1])


async def test_a_host_with_own_worker_is_a_warning(folder: Path) -> None:
    """Ensures that a check does not pass in silence over a host that it has not asked."""
    found = check_catalogue(folder, {"far": {}}, SUPPORTED)
    found = await check_on_hosts(found, {}, {"far": {}}, "ours000000", "mrg")
    assert found.well
    assert "host far is not asked: only the worker beside it can" in str(found.warnings[-1])


def test_without_settings_no_host_can_be_asked(folder: Path) -> None:
    """Ensures that the error names the missing setting."""
    done = check("--hosts", str(folder))
    assert done.code == 2
    assert "MOORAGE_CONTROL_PLANE__URL" in done.err
