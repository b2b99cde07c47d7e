"""The catalogue: its templates can be used, and a mistake in a file is reported with its line."""

import re
from pathlib import Path

import pytest

from contracts.templates.supported_charts import NEWEST_TESTED
from starter.catalogue.loader import STARTER_TEMPLATES, load_catalogue, unknown_template
from starter.config_files.yaml_source import FilesUnusable

GOOD = f"""\
version: 1
description: For a test.
chart:
  version: {NEWEST_TESTED}
kubernetes: v1.36.0
size:
  cpu: "2"
  memory: 4Gi
  storage: 10Gi
  pods: 40
ttl:
  default: 8h
  maximum: 3d
"""


def problems_in(tmp_path: Path, text: str, name: str = "small.yaml") -> list[str]:
    """What is wrong with one file, each without the path of the folder."""
    (tmp_path / name).write_text(text)
    with pytest.raises(FilesUnusable) as unusable:
        load_catalogue(tmp_path)
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in unusable.value.problems]


def test_the_starter_templates() -> None:
    """Ensures that the templates that Moorage brings along can be loaded, and are for everybody."""
    names = [template.name for template in load_catalogue(STARTER_TEMPLATES).offered_to([])]
    assert names == ["medium", "small", "throwaway"]


def test_the_starter_templates_name_the_versions_that_the_end_to_end_suite_runs() -> None:
    """Ensures that the chart and the Kubernetes which are shipped are those that were shown to work."""
    pins = (Path(__file__).parents[1] / "cluster" / "singlenode" / "layout.py").read_text()
    shown = dict(re.findall(r'^(KUBERNETES|VCLUSTER)_VERSION = "([^"]+)"$', pins, re.MULTILINE))
    templates = load_catalogue(STARTER_TEMPLATES).offered_to([])
    assert {template.chart.version for template in templates} == {shown["VCLUSTER"]}
    assert {template.kubernetes for template in templates} == {shown["KUBERNETES"]}


def test_the_name_is_that_of_the_file(tmp_path: Path) -> None:
    """Ensures that a template is named like its file, whether it says so itself or not."""
    (tmp_path / "one.yaml").write_text(GOOD)
    (tmp_path / "two.yml").write_text(f"name: two\n{GOOD}")
    catalogue = load_catalogue(tmp_path)
    assert [template.name for template in catalogue.offered_to([])] == ["one", "two"]


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        ("memory: 4Gi", "memory: 4GB", 'small.yaml:8:3: size.memory: "4GB" is not a Kubernetes quantity'),
        ("  pods: 40\n", "", "small.yaml:6:1: size.pods: is missing"),
        ("pods: 40", "pods: many", 'small.yaml:10:3: size.pods: "many" is not a whole number'),
        ("pods: 40", "pods: 0", 'small.yaml:10:3: size.pods: "0" is too small: at least 1'),
        ('cpu: "2"', "cpu: 2", 'small.yaml:7:3: size.cpu: "2" is not text: put it in quotes, "…"'),
        ("v1.36.0", "1.36", 'small.yaml:5:1: kubernetes: "1.36" is not text: put it in quotes'),
        (
            "v1.36.0",
            "latest",
            'small.yaml:5:1: kubernetes: "latest" is not a Kubernetes version',
        ),
        ("storage:", "storrage:", 'size.storrage: there is no such field: did you mean "storage"?'),
        ("chart:", "charts:", 'small.yaml:3:1: charts: there is no such field: did you mean "chart"?'),
        ("8h", "eight", 'small.yaml:12:3: ttl.default: "eight" is not a length of time: write a number'),
        ("8h", "4d", "small.yaml:11:1: ttl: the default is longer than the maximum"),
        ("size:", "version: 2\nsize:", "small.yaml:6:1: version: stands here twice"),
        ("description: For a test.", "description: ''", "small.yaml:2:1: description: is too short"),
        ("version: 1\n", "version: 1\nname: other\n", "small.yaml:2:1: name: the file is small.yaml, so"),
        ("version: 1\n", "version: 1\nteams: blue\n", 'small.yaml:2:1: teams: "blue" is not a list'),
        ("version: 1\n", "version: 1\nvalues: 3\n", 'small.yaml:2:1: values: "3" is not a group of fields'),
        (
            "version: 1\n",
            "version: 1\nsleep: {after: 30m}\n",
            "small.yaml:2:9: sleep.after: 30m is too short: a person may work with a credential of 1h for so",
        ),
        (
            "version: 1\n",
            "version: 1\nsleep: {schedule: Mon-Fri}\n",
            'small.yaml:2:9: sleep.schedule: "Mon-Fri" is not a schedule: write "Mon-Fri 08:00-20:00',
        ),
        ("version: 1\n", "version: 1\nsleep: {}\n", "small.yaml:2:1: sleep: says nothing: write after"),
        (
            "version: 1\n",
            "version: 1\nwarm: {ready: 3, most: 2}\n",
            "small.yaml:2:18: warm.most: 2 is less than the 3 that are to be ready",
        ),
        (
            "version: 1\n",
            "version: 1\nwarm: {ready: 3, hours: at noon}\n",
            'small.yaml:2:18: warm.hours: "at noon" is not a schedule: write "Mon-Fri 08:00-20:00',
        ),
        ("version: 1\n", "version: 1\nwarm: {}\n", "small.yaml:2:1: warm.ready: is missing"),
        (
            "version: 1\n",
            "version: 1\nwarm: {ready: 1}\nparameters: {size: {type: integer, description: x}}\n",
            "small.yaml:2:1: warm: needs a default of every parameter, and size has none",
        ),
        (
            "version: 1\n",
            "version: 1\nquota: {per_person: 3, per_team: 2}\n",
            "small.yaml:2:9: quota.per_person: 3 is more than a team may have together, 2: no one could",
        ),
        (
            "  maximum: 3d\n",
            "  maximum: 3d\n  extension: {times: 2}\n",
            "small.yaml:14:3: ttl.extension.total: is missing: 2 extensions, and not by how much",
        ),
        (
            "  maximum: 3d\n",
            "  maximum: 3d\n  extension: {total: 2d}\n",
            "small.yaml:14:3: ttl.extension.times: is missing: how often it may be extended",
        ),
        (
            "version: 1\n",
            "version: 1\npod_security: privileged\n",
            "small.yaml:2:1: pod_security: \"privileged\" is not one of 'baseline' or 'restricted'",
        ),
        (
            "version: 1\n",
            "version: 1\nnetwork: {internat: false}\n",
            'small.yaml:2:11: network.internat: there is no such field: did you mean "internet"?',
        ),
        (
            f"  version: {NEWEST_TESTED}",
            f"  repository: https://me:secret@charts.example\n  version: {NEWEST_TESTED}",
            "small.yaml:4:3: chart.repository: holds a user or a password: charts must be to be had without",
        ),
        (
            f"  version: {NEWEST_TESTED}",
            f"  repository: HTTP://charts.example.com\n  version: {NEWEST_TESTED}",
            "small.yaml:4:3: chart.repository: must start with https:// or oci://: over http://, a chart can",
        ),
        (
            f"  version: {NEWEST_TESTED}",
            f"  repository: http://[charts\n  version: {NEWEST_TESTED}",
            "small.yaml:4:3: chart.repository: is no address: write https://, oci:// or the path",
        ),
        (
            f"  version: {NEWEST_TESTED}",
            f"  version: {NEWEST_TESTED}\n  digest: sha256:ABC",
            'small.yaml:5:3: chart.digest: "sha256:ABC" is not sha256: and 64 hexadecimal digits',
        ),
        (
            "version: 1\n",
            "version: 1\nvalues: {exportKubeConfig: {serviceAccount: {name: dev, clusterRole: edit}}}\n",
            "small.yaml:2:29: values.exportKubeConfig.serviceAccount: the account dev has the cluster role",
        ),
        (
            "version: 1\n",
            "version: 1\nvalues: {exportKubeConfig: {serviceAccount: {name: dev}}}\n",
            "values.exportKubeConfig.serviceAccount: the account dev has no cluster role inside, and the",
        ),
        ("version: 1", "version: [1", "small.yaml:2:12: is not valid YAML"),
        (GOOD, "", "small.yaml:1:1: is not a template"),
        (GOOD, "- a\n", "small.yaml:1:1: is not a template"),
        (GOOD, "1: 2\n", "small.yaml:1:1: 1: there is no such field"),
        (GOOD, "a: 2001-99-99\n", "small.yaml:1:1: a: there is no such field"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, change: str, to: str, expected: str) -> None:
    """Ensures that each mistake is reported with file, line and field, and what would be right."""
    assert change in GOOD
    assert any(expected in problem for problem in problems_in(tmp_path, GOOD.replace(change, to, 1))), (
        problems_in(tmp_path, GOOD.replace(change, to, 1))
    )


@pytest.mark.parametrize(
    "account",
    ["{}", "{name: ''}", "{name: a, clusterRole: cluster-admin}", "{name: a, clusterRole: our-own}"],
)
def test_an_exported_account_that_may_be_enough(tmp_path: Path, account: str) -> None:
    """Ensures that only those are refused that certainly have too few permissions."""
    values = f"values: {{exportKubeConfig: {{serviceAccount: {account}}}}}\n"
    (tmp_path / "small.yaml").write_text(GOOD + values)
    assert load_catalogue(tmp_path).get("small") is not None


@pytest.mark.parametrize(
    "repository",
    [
        "https://charts.example.com",
        "oci://r.example.com/charts",
        "http://127.0.0.1:8080",
        "http://[::1]/charts",
        "http://mirror",
        "http://mirror.charts.svc:8080/x",
        "/srv/charts",
        '""',
    ],
)
def test_a_repository_that_keeps_charts_as_they_are(tmp_path: Path, repository: str) -> None:
    """Ensures that plain HTTP is refused only where others can change what is on its way."""
    text = GOOD.replace("chart:\n", f"chart:\n  repository: {repository}\n")
    (tmp_path / "small.yaml").write_text(text)
    assert load_catalogue(tmp_path).get("small") is not None


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Ensures that every problem of every file is reported, not only the first."""
    (tmp_path / "a.yaml").write_text("oops: [")
    (tmp_path / "b.yaml").write_text(GOOD.replace("4Gi", "x").replace("10Gi", "y"))
    with pytest.raises(FilesUnusable) as unusable:
        load_catalogue(tmp_path)
    assert [problem.file.name for problem in unusable.value.problems] == ["a.yaml", "b.yaml", "b.yaml"]


def test_all_problems_of_one_file_by_their_lines(tmp_path: Path) -> None:
    """Ensures that contradictions and too small values are reported beside unreadable ones."""
    text = (
        GOOD.replace("pods: 40", "pods: 1").replace("8h", "eight") + "quota: {per_person: 3, per_team: 2}\n"
    )
    assert [problem.partition(": ")[2].partition(":")[0] for problem in problems_in(tmp_path, text)] == [
        "size.pods", "ttl.default", "quota.per_person",
    ]  # fmt: skip


def test_two_files_of_one_name(tmp_path: Path) -> None:
    """Ensures that a name that two files claim is refused."""
    (tmp_path / "small.yaml").write_text(GOOD)
    assert problems_in(tmp_path, GOOD, "small.yml") == [
        "small.yml:1:1: small.yaml is the template small already"
    ]


@pytest.mark.parametrize("name", ["Small.yaml", "1st.yaml", f"{'x' * 31}.yaml", "a_b.yaml", "-.yaml"])
def test_a_file_whose_name_cannot_be_a_name(tmp_path: Path, name: str) -> None:
    """Ensures that a file whose name cannot be a template's is refused."""
    [problem] = problems_in(tmp_path, GOOD, name)
    assert "cannot be a name" in problem


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """Ensures that a missing and an empty folder are reported, and that other files are no templates."""
    with pytest.raises(FilesUnusable, match="cannot be read"):
        load_catalogue(tmp_path / "nowhere")
    (tmp_path / "README.md").write_text("not a template")
    with pytest.raises(FilesUnusable, match="holds no template"):
        load_catalogue(tmp_path)


def test_what_is_not_text(tmp_path: Path) -> None:
    """Ensures that a file that is not text is reported without a crash."""
    (tmp_path / "small.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FilesUnusable, match="not text in UTF-8"):
        load_catalogue(tmp_path)


def test_who_is_offered_what(tmp_path: Path) -> None:
    """Ensures that a template for some teams is offered to them, and to users who may see everything."""
    (tmp_path / "all.yaml").write_text(GOOD)
    (tmp_path / "some.yaml").write_text(f"{GOOD}teams: [blue, red]\n")
    catalogue = load_catalogue(tmp_path)

    def offered(*teams: str, everything: bool = False) -> list[str]:
        return [template.name for template in catalogue.offered_to(teams, everything=everything)]

    assert offered("green") == ["all"]
    assert offered("green", "red") == ["all", "some"]
    assert offered(everything=True) == ["all", "some"]


def test_an_unknown_template_has_a_suggestion() -> None:
    """Ensures that a mistyped name is answered with the one that was meant, a strange one with all."""
    offered = load_catalogue(STARTER_TEMPLATES).offered_to([])
    assert unknown_template("smal", offered) == 'there is no template "smal": did you mean "small"?'
    assert unknown_template("qqq", offered).endswith("there is medium, small, throwaway")


def test_a_template_that_no_history_could_carry(tmp_path: Path) -> None:
    """Ensures that too large values are reported at their line, before a user asks for the template."""
    text = f"{GOOD}values:\n  sync: {{a: {'x' * 600_000}}}\n"
    [problem] = problems_in(tmp_path, text)
    assert problem.startswith("small.yaml:14:")
    assert "the template takes 587 KiB, most of it values: at most 256 KiB" in problem
