"""`moorage request --file`, and labels, on a running stack."""

import json
from pathlib import Path

import pytest

from embedded.stack.stack import Stack
from tests.cli.test_commands import Cli, cli_of
from tests.support.stack import BOB, CAROL, unique

pytestmark = pytest.mark.slow


@pytest.fixture
def moorage(stack: Stack, tmp_path: Path) -> Cli:
    """Bob's command."""
    return cli_of(stack, tmp_path, BOB.email)


async def test_a_file_from_request_to_delete(moorage: Cli, stack: Stack, tmp_path: Path) -> None:
    """Ensures that a file makes all, a second run joins them, and one label lists and deletes them."""
    first, second = unique("bulk"), unique("bulk")
    course = unique("course")
    file = tmp_path / "environments.yaml"
    file.write_text(
        f"x-lab: &lab\n  template: small\n  labels: {{course: {course}}}\nenvironments:\n"
        f"  - <<: *lab\n    name: {first}\n  - <<: *lab\n    name: {second}\n    ttl: 2h\n"
    )
    planned = await moorage("request", "--file", str(file), "--dry-run")
    assert planned.code == 0, planned.err
    assert "All 2 requests are valid. Nothing was started." in planned.out
    asked = await moorage("request", "-f", str(file), "-o", "json")
    assert asked.code == 0, asked.err
    content = json.loads(asked.out)
    assert (content["requested"], content["ready"], content["failed"]) == (2, 2, 0)
    assert {one["kind"] for one in content["environments"]} == {"created"}
    assert {one["environment"]["phase"] for one in content["environments"]} == {"ready"}
    again = await moorage("request", "-f", str(file), "-o", "json")
    assert {one["kind"] for one in json.loads(again.out)["environments"]} == {"joined"}
    assert [one["life"] for one in json.loads(again.out)["environments"]] == [
        one["life"] for one in content["environments"]
    ]
    listed = await moorage("list", "--label", f"course={course}", "-o", "json")
    assert {row["name"] for row in json.loads(listed.out)} == {first, second}
    assert {row["labels"]["course"] for row in json.loads(listed.out)} == {course}
    wide = await moorage("list", "-l", f"course={course}", "-o", "wide")
    assert f"course={course}" in wide.out
    assert f"course={course}" in (await moorage("show", first)).out
    # Without a terminal, the names are in the question that cannot be asked.
    refused = await moorage("delete", "--label", f"course={course}")
    assert refused.code == 2
    assert first in refused.err
    assert second in refused.err
    # Carol is in the same team and may decide, but other labels do not match.
    carol = cli_of(stack, tmp_path, CAROL.email)
    assert (await carol("delete", "--label", "course=another", "--yes")).code == 3
    deleted = await moorage("delete", "--label", f"course={course}", "--yes")
    assert deleted.code == 0, deleted.err
    assert deleted.out.count("is gone (deleted)") == 2
    ended = await moorage("list", "--ended", "--label", f"course={course}", "-o", "json")
    assert {row["name"] for row in json.loads(ended.out)} == {first, second}


async def test_a_file_with_problems(moorage: Cli, tmp_path: Path) -> None:
    """Ensures that nothing is started, and that every problem has its line."""
    name = unique("bulk")
    file = tmp_path / "e.yaml"
    file.write_text(
        f"- name: {name}\n  template: small\n"
        "- name: Wrong\n  template: smal\n  ttl: 400d\n"
        "- name: ok\n  template: small\n  collaborators: [ida@example.com]\n"
    )
    asked = await moorage("request", "--file", str(file))
    assert asked.code == 2
    lines = [line.strip() for line in asked.err.splitlines()]
    assert lines[0] == "moorage: the requests are not valid; nothing was started"
    assert lines[1].startswith(f'{file}:3:3: name: "Wrong" cannot be a name')
    assert lines[2].startswith(f"{file}:4:3: template: ")
    assert lines[3].startswith(f"{file}:8:19: collaborators.0: the directory does not know")
    assert (await moorage("show", name)).code == 3


async def test_a_count(moorage: Cli) -> None:
    """Ensures that a count makes numbered environments with a label, each with its own result."""
    name = unique("lab")
    asked = await moorage("request", name, "small", "--count", "2", "--no-wait")
    assert asked.code == 0, asked.err
    assert f"moorage delete --label batch={name}" in asked.err
    assert (await moorage("request", name, "small", "--count", "2", "-o", "json")).code == 0
    both = await moorage("delete", f"{name}-1", f"{name}-2", "--yes")
    assert both.code == 0, both.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("request", "demo"),
        ("request", "demo", "small", "--file", "x"),
        ("request", "--file", "x", "--ttl", "1h"),
        ("request", "demo", "small", "--count", "0"),
        ("request", "demo", "small", "--label", "x"),
        ("delete",),
        ("delete", "demo", "--label", "a=b"),
        ("delete", "--label", "a=b'"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
async def test_options_that_exclude_each_other(moorage: Cli, arguments: tuple[str, ...]) -> None:
    assert (await moorage(*arguments)).code == 2


async def test_labels_are_completed(moorage: Cli) -> None:
    """Ensures that the shell offers the labels that environments have."""
    name, value = unique("bulk"), unique("v")
    assert (await moorage("request", name, "small", "--label", f"team={value}")).code == 0
    env = {"_MOORAGE_COMPLETE": "bash_complete", "COMP_WORDS": "moorage list --label team", "COMP_CWORD": "3"}
    completing = Cli(moorage.folder, **{**moorage._env, **env})
    assert f"plain,team={value}" in (await completing()).out
    assert (await moorage("delete", name, "--yes", "--no-wait")).code == 0
