"""The folder of a stack: what others prepared for it is not taken, and says so."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clients import private_files
from embedded.stack import state_dir
from embedded.stack.state_dir import StackError, StackFolder, free_port
from tests.clients.test_safe_yaml import bomb, nested

OTHER_USER = 987654


def refusal(path: Path, *, fresh: bool = False) -> str:
    """Why the folder is not opened."""
    with pytest.raises(StackError) as refused:
        StackFolder(path).open(fresh=fresh)
    return str(refused.value)


def left(path: Path) -> Path:
    """A folder as a stack leaves it."""
    folder = StackFolder(path)
    folder.open(fresh=True)
    folder.write_tokens([{"email": "ada@example.com"}])
    folder.close()
    return path


def modes(path: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.lstat().st_mode) for one in (path, *path.iterdir())}


def test_what_a_stack_makes_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = left(tmp_path / "state")
    finally:
        os.umask(before)
    files = dict.fromkeys((".gitignore", "lock", "state.json", "tokens.yaml"), 0o600)
    assert modes(state) == {"state": 0o700, "logs": 0o700, **files}


def test_a_folder_that_others_may_write(tmp_path: Path) -> None:
    state = left(tmp_path / "state")
    state.chmod(0o777)
    assert f"the folder {state} cannot be used: other users can write in it (mode 0777)" in refusal(state)


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    left(tmp_path / "elsewhere")
    (tmp_path / "state").symlink_to("elsewhere")
    assert "it is a link" in refusal(tmp_path / "state", fresh=True)


def test_a_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = left(tmp_path / "state")
    monkeypatch.setattr(private_files, "_owner", lambda _: OTHER_USER)
    assert f"belongs to another user (uid {OTHER_USER})" in refusal(state)


def with_link(path: Path, other: Path) -> None:
    path.mkdir()
    (path / "ca.key").symlink_to(other)


PREPARED: dict[str, Callable[[Path, Path], object]] = {
    "tokens.yaml": lambda path, other: path.symlink_to(other),
    "state.json": lambda path, other: path.hardlink_to(other),
    "temporal.sqlite-wal": lambda path, other: path.symlink_to(other),
    "logs": lambda path, other: path.symlink_to(other.parent),
    "host": lambda path, other: with_link(path, other),
    "people": lambda path, other: os.mkfifo(path),
}


@pytest.mark.parametrize("name", PREPARED)
def test_what_was_prepared_in_it(tmp_path: Path, name: str) -> None:
    """Ensures that a link, a second name and a FIFO are named, not opened, and removed by --fresh."""
    state, other = left(tmp_path / "state"), tmp_path / "other"
    other.write_text("{}")
    if name in {one.name for one in state.iterdir()}:
        (state / name).rmdir() if name == "logs" else (state / name).unlink()
    PREPARED[name](state / name, other)
    assert f"{state / name}" in (said := refusal(state))
    assert "remove it" in said
    left(state)
    assert (other.read_text(), sorted(one.name for one in tmp_path.iterdir())) == ("{}", ["other", "state"])
    assert not (state / name).is_symlink()


@pytest.mark.parametrize("prepare", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_that_leads_elsewhere(tmp_path: Path, prepare: Callable[[Path, Path], None]) -> None:
    """Ensures that no file of others is locked and written as if it were the stack's lock."""
    state, other = left(tmp_path / "state"), tmp_path / "other"
    other.write_text("others'")
    (state / "lock").unlink()
    prepare(state / "lock", other)
    assert "lock" in refusal(state, fresh=True)
    assert other.read_text() == "others'"


def test_a_port_is_given_to_one_process() -> None:
    """Ensures that stacks which start together never choose the same port, until one of them ends."""
    first, second = free_port(), free_port()
    os.close(state_dir._claims.pop(second))
    ports = (first,) * 50 + (second,)
    other = [
        sys.executable,
        "-c",
        f"from embedded.stack import state_dir; state_dir._PORTS = {ports}; print(state_dir.free_port())",
    ]
    assert subprocess.check_output(other, text=True) == f"{second}\n"
    os.close(state_dir._claims.pop(first))
    assert state_dir._claim(second)
    assert subprocess.check_output(other, text=True) == f"{first}\n"


def test_a_second_person_keeps_the_token(tmp_path: Path) -> None:
    """Ensures that the next start leaves what was added by hand as it was written."""
    folder = StackFolder(left(tmp_path))
    folder.open(fresh=False)
    digest = "12345678e1" + "0" * 54
    added = (
        f"tokens:\n- {{sha256: {digest}, person: 2024-05-01, email: Grace@example.com, teams: [22:30, on]}}\n"
    )
    (tmp_path / "tokens.yaml").write_text(added)
    for _ in range(2):
        folder.write_tokens([{"email": "ada@example.com"}])
        kept, own = yaml.safe_load((tmp_path / "tokens.yaml").read_text())["tokens"]
        assert kept == {
            "sha256": digest,
            "person": "2024-05-01",
            "email": "Grace@example.com",
            "teams": ["22:30", "on"],
        }
        assert own["email"] == "ada@example.com"
    folder.close()


@pytest.mark.parametrize("text", ["- a", "tokens: 1", "tokens: [1]", "a: [", nested(100_000), bomb(14)])
def test_tokens_that_cannot_be_read_are_not_thrown_away(tmp_path: Path, text: str) -> None:
    folder = StackFolder(left(tmp_path))
    folder.open(fresh=False)
    (tmp_path / "tokens.yaml").write_text(text)
    with pytest.raises(StackError, match=r"tokens\.yaml cannot be read: mend it"):
        folder.write_tokens([{"email": "ada@example.com"}])
    assert (tmp_path / "tokens.yaml").read_text() == text
    folder.close()
