"""Kubeconfig files: what is merged stays beside what was there, and only its owner can read it."""

import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig import files as kubeconfig_file
from starter.cli.kubeconfig.files import (
    MARK,
    default_file,
    kubeconfig_files,
    merge_context,
    parse_kubeconfig,
    remove_context,
    write_private,
)

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
    done = merge_context(path, GIVEN, "demo", switch=False)
    assert (done.context, done.file, done.is_current, done.files) == (
        "moorage-demo",
        path,
        True,
        {path: None},
    )
    assert mode(path) == 0o600
    content = read(path)
    assert content["current-context"] == "moorage-demo"
    (context,) = content["contexts"]
    assert context["name"] == "moorage-demo"
    (mark,) = context["context"].pop("extensions")
    assert mark["name"] == MARK
    assert context["context"] == {"cluster": "moorage-demo", "user": "moorage-demo", "namespace": "dev"}
    assert [each.name for each in path.parent.iterdir()] == ["config"]


@pytest.mark.parametrize("switch", [True, False])
def test_into_a_file_that_is_there(tmp_path: Path, switch: bool) -> None:
    """Ensures that others' entries stay as they are, ours are replaced, and a private backup is made."""
    path = tmp_path / "config"
    path.write_text(THERE)
    path.chmod(0o644)
    done = merge_context(path, GIVEN, "demo", switch=switch)
    assert (done.context, done.is_current) == ("moorage-demo", switch)
    backup = done.files[path]
    assert backup is not None
    assert backup.read_text() == THERE
    assert (mode(path), mode(backup)) == (0o600, 0o600)
    before, after = yaml.safe_load(THERE), read(path)
    assert after["current-context"] == ("moorage-demo" if switch else "work")
    for section in ("clusters", "users", "contexts"):
        others = [entry for entry in before[section] if entry["name"] == "work"]
        assert [entry for entry in after[section] if entry["name"] == "work"] == others
        assert [entry["name"] for entry in after[section]].count("moorage-demo") == 1
    assert after["clusters"][1]["cluster"]["server"] == "https://new.example"
    assert (after["preferences"], after["extensions"]) == (before["preferences"], [])


def test_the_same_again(tmp_path: Path) -> None:
    """Ensures that merging what is there already changes nothing and makes no backup."""
    path = tmp_path / "config"
    path.write_text(THERE)
    merge_context(path, GIVEN, "demo", switch=True)
    before = sorted(each.name for each in tmp_path.iterdir())
    assert merge_context(path, GIVEN, "demo", switch=True).files == {}
    assert sorted(each.name for each in tmp_path.iterdir()) == before


def test_two_backups_in_one_second(tmp_path: Path) -> None:
    """Ensures that a backup never takes the place of another one."""
    path = tmp_path / "config"
    path.write_text(THERE)
    backups = {merge_context(path, GIVEN, f"demo-{number}", switch=True).files[path] for number in range(3)}
    assert len(backups) == 3
    assert all(backup and backup.exists() for backup in backups)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Ensures that a file that is a link is changed where it lives."""
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "config"
    target.write_text(THERE)
    link = tmp_path / "config"
    link.symlink_to(target)
    merge_context(link, GIVEN, "demo", switch=True)
    assert link.is_symlink()
    assert read(target)["current-context"] == "moorage-demo"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "not a kubeconfig"),
        ("kind: Pod", "not a kubeconfig"),
        ("clusters: {}\nkind: Config", "is not a list"),
        ("clusters: work", "is not a list"),
        ("apiVersion: v2\nkind: Config", "not a kubeconfig"),
        ("clusters: &a [*a]\nkind: &b Config\nusers: *c", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_kubeconfig(tmp_path: Path, there: str, expected: str) -> None:
    """Ensures that what is no kubeconfig is left as it is."""
    path = tmp_path / "config"
    path.write_text(there)
    with pytest.raises(CliError, match=expected):
        merge_context(path, GIVEN, "demo", switch=True)
    assert path.read_text() == there
    assert [each.name for each in tmp_path.iterdir()] == ["config"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "a: [",
        "secret: new-secret",
        GIVEN.replace("name: u", "name: v"),
        GIVEN.replace("https://new.example", "new.example"),
        GIVEN.replace("current-context: x", "current-context: y"),
        "<!DOCTYPE html><html><body>new-secret</body></html>",
        "<html>\n<head><title>Sign in</title></head>\n</html>\n",
        "sign in: first",
    ],
)
def test_an_answer_that_is_no_kubeconfig(tmp_path: Path, given: str) -> None:
    """Ensures that a bad answer is not merged, and that the sentence does not quote it."""
    with pytest.raises(CliError) as failed:
        merge_context(tmp_path / "config", given, "demo", switch=True)
    assert "new-secret" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CliError, match="is not a kubeconfig with") as failed:
        parse_kubeconfig(given)
    assert failed.value.code is Code.UNREACHABLE


def test_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a file that kubectl is writing is not written, and the sentence says what to do."""
    monkeypatch.setattr(kubeconfig_file, "LOCK_TIMEOUT_SECONDS", 0.1)
    path = tmp_path / "config"
    path.write_text(THERE)
    lock = tmp_path / "config.lock"
    lock.touch()
    with pytest.raises(CliError, match="locked") as failed:
        merge_context(path, GIVEN, "demo", switch=True)
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
    with pytest.raises(CliError, match="cannot write"):
        write_private(tmp_path / "demo.yaml" / "x", GIVEN)


def test_which_files_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the files are kubectl's, and the one that is added to is the one that kubectl adds to."""
    a, b = tmp_path / "a", tmp_path / "b"
    files = kubeconfig_files({"KUBECONFIG": f":{a}:{b}:{a}"})
    assert files == [a, b]
    assert default_file(files) == b  # none is there: the last one
    b.touch()
    assert default_file(files) == b
    a.touch()
    assert default_file(files) == a
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig_files({}) == [tmp_path / ".kube" / "config"]


def test_an_unknown_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that without HOME and without an entry for the user, the sentence says what to set."""
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(CliError, match="cannot find your kubeconfig"):
        kubeconfig_files({})


@pytest.mark.parametrize("switch", [True, False])
def test_a_list_of_files(tmp_path: Path, switch: bool) -> None:
    """Ensures that no file is made without need, and that the current context is that of all files."""
    new, work, more = tmp_path / "new.yaml", tmp_path / "work.yaml", tmp_path / "more.yaml"
    work.write_text("contexts: []\n")
    more.write_text(THERE)
    done = merge_context([new, work, more], GIVEN, "demo", switch=switch)
    assert not new.exists()
    # The cluster is where it was, for that is the one that kubectl believes; the rest is new.
    assert done.file == work
    assert set(done.files) == {work, more}
    assert [one["name"] for one in read(work)["contexts"]] == ["moorage-demo"]
    assert read(more)["clusters"][1]["cluster"]["server"] == "https://new.example"
    assert read(work).get("current-context") == ("moorage-demo" if switch else None)
    assert read(more)["current-context"] == "work"
    assert done.is_current is switch


def test_a_link_is_locked_as_kubectl_locks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a link is locked by its own name and its target's, and a linked folder only once."""
    monkeypatch.setattr(kubeconfig_file, "LOCK_TIMEOUT_SECONDS", 0.1)
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "real" / "config").write_text(THERE)
    link = tmp_path / "config"
    link.symlink_to("folder/config")
    merge_context(tmp_path / "folder" / "config", GIVEN, "demo", switch=True)
    for lock in (tmp_path / "config.lock", tmp_path / "real" / "config.lock"):
        lock.touch()
        with pytest.raises(CliError, match="locked"):
            merge_context(link, GIVEN, "other", switch=True)
        lock.unlink()
    merge_context(link, GIVEN, "other", switch=True)
    assert not list(tmp_path.rglob("*.lock"))


def test_links_in_a_circle(tmp_path: Path) -> None:
    """Ensures that links that lead nowhere are reported as such."""
    link = tmp_path / "config"
    link.symlink_to("config")
    with pytest.raises(CliError, match="cannot "):
        merge_context(link, GIVEN, "demo", switch=True)


URL = "https://moorage.example"


def test_a_context_of_an_environment_that_is_gone(tmp_path: Path) -> None:
    """Ensures that what was merged is taken out, with no other context taken for the current one."""
    path = tmp_path / "config"
    path.write_text(THERE)
    merge_context(path, GIVEN, "demo", switch=True, url=URL)
    before = sorted(tmp_path.iterdir())
    done = remove_context([path], "demo", URL)
    assert done is not None
    assert (done.context, done.file, done.kept, done.was_current) == ("moorage-demo", path, "", True)
    content = read(path)
    assert [
        [one["name"] for one in content[section] or []] for section in ("clusters", "users", "contexts")
    ] == [
        ["work"],
        ["work"],
        ["work"],
    ]
    assert content["current-context"] == ""
    assert sorted(tmp_path.iterdir()) == before
    assert remove_context([path], "demo", URL) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://new.example", "https://mine.example"),
        ("new-secret", "mine"),
        ('user: "moorage-demo"', "user: work"),
    ],
)
def test_a_context_that_the_user_has_changed(tmp_path: Path, old: str, new: str) -> None:
    """Ensures that a context with another server, user or login is kept, and that the reason is given."""
    path = tmp_path / "config"
    merge_context(path, GIVEN, "demo", switch=True, url=URL)
    text = path.read_text()
    assert old in text
    # In the mark it stays as it was.
    path.write_text(text.replace(old, new, 1))
    before = path.read_text()
    done = remove_context([path], "demo", URL)
    assert done is not None
    assert done.kept == "it was changed"
    assert path.read_text() == before


def test_what_is_not_of_this_api(tmp_path: Path) -> None:
    """Ensures that neither another API's context nor one that is made by hand is taken out."""
    path = tmp_path / "config"
    merge_context(path, GIVEN, "demo", switch=True, url="https://other.example")
    assert remove_context([path], "demo", URL) is None
    path.write_text(THERE.replace("name: work, context", "name: moorage-demo, context"))
    assert remove_context([path], "demo", URL) is None
    assert remove_context([tmp_path / "none"], "demo", URL) is None


def test_a_cluster_that_another_context_uses(tmp_path: Path) -> None:
    """Ensures that nothing is taken out that another context needs."""
    path = tmp_path / "config"
    merge_context(path, GIVEN, "demo", switch=True, url=URL)
    path.write_text(path.read_text() + "- {name: mine, context: {cluster: moorage-demo}}\n")
    content = path.read_text().replace('current-context: "moorage-demo"\n', "", 1)
    path.write_text(content)
    done = remove_context([path], "demo", URL)
    assert done is not None
    assert "another context" in done.kept
