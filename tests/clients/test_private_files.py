"""What is written for one user alone, and what is taken of what others prepared."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from clients import private_files
from clients.private_files import (
    ensure_private_folder,
    foreign_entries,
    open_private,
    read_private,
    read_trusted,
    write_private,
)

#: A user id that no machine has: the tests give it to a file without being root.
OTHER_USER = 987654


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def owned_by_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files belong to another user."""
    monkeypatch.setattr(private_files, "_owner", lambda _: OTHER_USER)


@pytest.mark.parametrize(("before", "after"), [(None, 0o700), (0o700, 0o700), (0o755, 0o700), (0o770, 0o700)])
def test_a_folder_that_is_taken(tmp_path: Path, before: int | None, after: int) -> None:
    """Ensures that a folder of one's own is closed to others, one of a shared group while it is empty."""
    folder = tmp_path / "a" / "state"
    if before is not None:
        folder.mkdir(parents=True)
        folder.chmod(before)
    ensure_private_folder(folder)
    assert mode(folder) == after


@pytest.mark.parametrize(
    ("before", "filled"), [(0o777, False), (0o1777, False), (0o707, True), (0o770, True)]
)
def test_a_folder_that_others_may_have_filled(tmp_path: Path, before: int, filled: bool) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    if filled:
        (folder / "tokens.yaml").write_text("tokens: []")
    folder.chmod(before)
    with pytest.raises(OSError, match=f"other users can write in it .mode {before:04o}.: .* chmod 700"):
        ensure_private_folder(folder)
    assert mode(folder) == before


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "state").symlink_to("elsewhere")
    with pytest.raises(OSError, match="it is a link: name the folder"):
        ensure_private_folder(tmp_path / "state")
    (tmp_path / "nowhere").symlink_to("missing")
    with pytest.raises(OSError, match="it is a link"):
        ensure_private_folder(tmp_path / "nowhere")
    assert not (tmp_path / "missing").exists()


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(NotADirectoryError):
        ensure_private_folder(tmp_path / "state")


@pytest.mark.usefixtures("owned_by_another_user")
def test_a_folder_of_another_user(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"belongs to another user .uid {OTHER_USER}."):
        ensure_private_folder(tmp_path)


@pytest.mark.parametrize("kind", ["nothing", "file", "link", "dangling", "second name", "fifo"])
def test_writing_where_something_is(tmp_path: Path, kind: str) -> None:
    """Ensures that what stood there is replaced, never written through, and nothing is left beside."""
    other, path = tmp_path / "other", tmp_path / "x"
    other.write_text("others'")
    other.chmod(0o644)
    put(path, kind, other)
    write_private(path, "ours")
    assert (path.read_text(), mode(path), path.is_symlink()) == ("ours", 0o600, False)
    assert (other.read_text(), mode(other)) == ("others'", 0o644)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other", "x"]


def test_writing_that_fails(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "x", b"ours")
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
    write_private(tmp_path / ("n" * 255), "a name as long as they can be")


def put(path: Path, kind: str, other: Path) -> None:
    """Put something at `path` that has to do with `other`."""
    kinds: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "file": lambda: path.touch(mode=0o600),
        "link": lambda: path.symlink_to(other),
        "dangling": lambda: path.symlink_to("nowhere"),
        "second name": lambda: path.hardlink_to(other),
        "fifo": lambda: os.mkfifo(path, 0o600),
        "folder": lambda: path.mkdir(mode=0o700),
    }
    kinds[kind]()


@pytest.mark.parametrize("kind", ["link", "dangling", "second name", "fifo", "folder"])
def test_what_is_not_the_file_that_was_written(tmp_path: Path, kind: str) -> None:
    """Ensures that reading, adding and locking end at once at what another user put in place of the file."""
    other, path = tmp_path / "other", tmp_path / "x"
    write_private(other, "others'")
    put(path, kind, other)
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_APPEND):
        with pytest.raises(OSError):
            os.close(open_private(path, flags))
    with pytest.raises(OSError):
        read_private(path)
    assert other.read_text() == "others'"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(("bits", "is_read"), [(0o600, True), (0o400, True), (0o640, False), (0o602, False)])
def test_reading_what_was_written(tmp_path: Path, bits: int, is_read: bool) -> None:
    write_private(tmp_path / "x", "ours")
    (tmp_path / "x").chmod(bits)
    if is_read:
        assert read_private(tmp_path / "x", longest=2) == "ou"
        return
    with pytest.raises(OSError, match=f"other users can read or write it .mode {bits:04o}.: chmod 600"):
        read_private(tmp_path / "x")


def test_another_users_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private(tmp_path / "x", "theirs")
    monkeypatch.setattr(private_files, "_owner", lambda _: OTHER_USER)
    for read in (read_private, read_trusted):
        with pytest.raises(OSError, match=f"belongs to another user .uid {OTHER_USER}."):
            read(tmp_path / "x")


def test_what_was_put_into_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that each link, second name, FIFO and file of another user is named, however deep."""
    folder = tmp_path / "state"
    (folder / "host").mkdir(parents=True)
    (folder / "host" / "ca.key").write_text("")
    assert list(foreign_entries(folder)) == list(foreign_entries(tmp_path / "nothing")) == []
    outside = tmp_path / "outside"
    outside.write_text("")
    put(folder / "host" / "a", "link", outside)
    put(folder / "b", "second name", outside)
    put(folder / "c", "fifo", outside)
    put(folder / "d", "link", tmp_path)
    assert [one.removeprefix(f"{folder}/") for one in foreign_entries(folder)] == [
        "b: it has a second name elsewhere (a hard link)",
        "c: it is no file",
        "d: it is a link",
        "host/a: it is a link",
    ]
    monkeypatch.setattr(private_files, "_owner", lambda _: OTHER_USER)
    assert list(foreign_entries(folder)) == [f"{folder}: it belongs to another user (uid {OTHER_USER})"]


def mounted(folder: Path, content: str, bits: int) -> Path:
    """A file as Kubernetes mounts a Secret: two links, and a folder named after the moment."""
    (folder / "..2026_11_26").mkdir()
    (folder / "..2026_11_26" / "token").write_text(content)
    (folder / "..2026_11_26" / "token").chmod(bits)
    (folder / "..data").symlink_to("..2026_11_26")
    (folder / "token").symlink_to("..data/token")
    return folder / "token"


@pytest.mark.parametrize("bits", [0o440, 0o400, 0o600, 0o640, 0o644, 0o660])
def test_a_mounted_file(tmp_path: Path, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a Secret as Kubernetes mounts it is read, which belongs to root."""
    file = mounted(tmp_path, "secret", bits)
    monkeypatch.setattr(private_files, "_owner", lambda _: 0)
    assert read_trusted(file) == b"secret"
    assert read_trusted(file, longest=3) == b"sec"


@pytest.mark.parametrize("bits", [0o666, 0o602, 0o777])
def test_a_mounted_file_that_everybody_may_write(tmp_path: Path, bits: int) -> None:
    with pytest.raises(OSError, match=f"all users can write it .mode {bits:04o}.: chmod o-w"):
        read_trusted(mounted(tmp_path, "secret", bits))


def test_a_pipe_and_a_fifo(tmp_path: Path) -> None:
    """Ensures that a shell's `<(…)` is read, and that a FIFO without a writer does not block."""
    reading, writing = os.pipe()
    os.write(writing, b"secret")
    os.close(writing)
    assert read_trusted(Path(f"/dev/fd/{reading}")) == b"secret"
    os.close(reading)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert read_trusted(tmp_path / "fifo") == b""
    with pytest.raises(IsADirectoryError):
        read_trusted(tmp_path)
    with pytest.raises(OSError, match="it is no file"):
        read_trusted(Path(os.devnull))


def test_files_that_root_gave_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures the same with the system's own answer where the tests run as root."""
    write_private(tmp_path / "x", "theirs")
    if os.geteuid() == 0:
        os.chown(tmp_path / "x", OTHER_USER, OTHER_USER)
        os.chown(tmp_path, OTHER_USER, OTHER_USER)
    else:
        monkeypatch.setattr(private_files, "_owner", lambda _: OTHER_USER)
    for refused in (lambda: ensure_private_folder(tmp_path), lambda: read_trusted(tmp_path / "x")):
        with pytest.raises(OSError, match=f"belongs to another user .uid {OTHER_USER}."):
            refused()
    assert list(foreign_entries(tmp_path)) == [f"{tmp_path}: it belongs to another user (uid {OTHER_USER})"]
