"""Kubeconfig files: what is merged stays beside what was there, and only its owner can read it."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from starter.cli import kubeconfigs
from starter.cli.failing import CliError
from starter.cli.kubeconfigs import default_kubeconfig, merge, write_private

GIVEN = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://new.example"}}]
users: [{name: u, user: {token: new-secret}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: dev}}]
current-context: x
"""
THERE = """\
apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- {name: work, cluster: {server: "https://work.example"}}
- {name: moorage-demo, cluster: {server: "https://old.example"}}
users:
- {name: work, user: {exec: {command: aws}}}
contexts:
- {name: work, context: {cluster: work, user: work}}
current-context: work
extensions: []
"""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file(tmp_path: Path) -> None:
    """Ensures that a file that is not there is made, private, with our context as the current one."""
    path = tmp_path / "kube" / "config"
    assert merge(path, GIVEN, "demo", switch=False) == ("moorage-demo", None)
    assert mode(path) == 0o600
    content = read(path)
    assert content["current-context"] == "moorage-demo"
    assert content["contexts"] == [
        {
            "name": "moorage-demo",
            "context": {"cluster": "moorage-demo", "user": "moorage-demo", "namespace": "dev"},
        }
    ]
    assert [each.name for each in path.parent.iterdir()] == ["config"]


@pytest.mark.parametrize("switch", [True, False])
def test_into_a_file_that_is_there(tmp_path: Path, switch: bool) -> None:
    """Ensures that others' entries stay as they are, ours are replaced, and a private backup is made."""
    path = tmp_path / "config"
    path.write_text(THERE)
    path.chmod(0o644)
    context, backup = merge(path, GIVEN, "demo", switch=switch)
    assert context == "moorage-demo"
    assert backup is not None
    assert backup.read_text() == THERE
    assert (mode(path), mode(backup)) == (0o600, 0o600)
    before, after = yaml.safe_load(THERE), read(path)
    assert after["current-context"] == ("moorage-demo" if switch else "work")
    for section in ("clusters", "users", "contexts"):
        others = [entry for entry in before[section] if entry["name"] == "work"]
        assert [entry for entry in after[section] if entry["name"] == "work"] == others
        assert [entry["name"] for entry in after[section]].count("moorage-demo") == 1
    assert after["clusters"][-1]["cluster"]["server"] == "https://new.example"
    assert (after["preferences"], after["extensions"]) == (before["preferences"], [])


def test_the_same_again(tmp_path: Path) -> None:
    """Ensures that merging what is there already changes nothing and makes no backup."""
    path = tmp_path / "config"
    path.write_text(THERE)
    merge(path, GIVEN, "demo", switch=True)
    before = sorted(each.name for each in tmp_path.iterdir())
    assert merge(path, GIVEN, "demo", switch=True) == ("moorage-demo", None)
    assert sorted(each.name for each in tmp_path.iterdir()) == before


def test_two_backups_in_one_second(tmp_path: Path) -> None:
    """Ensures that a backup never takes the place of another one."""
    path = tmp_path / "config"
    path.write_text(THERE)
    backups = {merge(path, GIVEN, f"demo-{number}", switch=True)[1] for number in range(3)}
    assert len(backups) == 3
    assert all(backup and backup.exists() for backup in backups)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Ensures that a file that is a link is changed where it lives."""
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "config"
    target.write_text(THERE)
    link = tmp_path / "config"
    link.symlink_to(target)
    merge(link, GIVEN, "demo", switch=True)
    assert link.is_symlink()
    assert read(target)["current-context"] == "moorage-demo"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "not a kubeconfig"),
        ("kind: Pod", "not a kubeconfig"),
        ("clusters: {}\nkind: Config", "clusters"),
        ("clusters: work", "is not a list"),
    ],
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, there: str, expected: str) -> None:
    """Ensures that what is no kubeconfig is left as it is."""
    path = tmp_path / "config"
    path.write_text(there)
    if expected == "clusters":  # empty, so nothing is lost
        merge(path, GIVEN, "demo", switch=True)
        return
    with pytest.raises(CliError, match=expected):
        merge(path, GIVEN, "demo", switch=True)
    assert path.read_text() == there
    assert [each.name for each in tmp_path.iterdir()] == ["config"]


@pytest.mark.parametrize("given", ["", "a: [", "secret: new-secret", GIVEN.replace("name: u", "name: v")])
def test_an_answer_that_is_no_kubeconfig(tmp_path: Path, given: str) -> None:
    """Ensures that a bad answer is not merged, and that the sentence does not quote it."""
    with pytest.raises(CliError) as failed:
        merge(tmp_path / "config", given, "demo", switch=True)
    assert "new-secret" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a file that kubectl is writing is not written, and the sentence says what to do."""
    monkeypatch.setattr(kubeconfigs, "LOCK_SECONDS", 0.1)
    path = tmp_path / "config"
    path.write_text(THERE)
    lock = tmp_path / "config.lock"
    lock.touch()
    with pytest.raises(CliError, match="locked") as failed:
        merge(path, GIVEN, "demo", switch=True)
    assert str(lock) in failed.value.next_steps[0]
    assert path.read_text() == THERE
    assert lock.exists()


def test_a_file_of_its_own(tmp_path: Path) -> None:
    """Ensures that a written file is private even where one that was readable by all stood before."""
    path = tmp_path / "demo.yaml"
    path.write_text("old")
    path.chmod(0o666)
    write_private(path, GIVEN)
    assert (path.read_text(), mode(path)) == (GIVEN, 0o600)
    with pytest.raises(CliError, match="cannot be written"):
        write_private(tmp_path / "demo.yaml" / "x", GIVEN)


def test_which_file_is_meant() -> None:
    """Ensures that the file is the one that kubectl would write to."""
    assert default_kubeconfig({"KUBECONFIG": ":/a:/b"}) == Path("/a")
    assert default_kubeconfig({}) == Path.home() / ".kube" / "config"
