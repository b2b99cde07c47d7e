"""Files and folders of this user alone, and files given to it, such as a mounted Secret.

Files that Moorage writes are never links, never shared and never another user's. Files that it is given may
be a link, belong to root and be readable by a group, as Kubernetes mounts Secrets and ConfigMaps; but only
root or this user may have been able to write them.
"""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
#: Part of a name that its temporary file keeps: with the suffix, the name stays within 255 bytes.
_KEPT_OF_NAME = 50
#: Do not follow a link, and do not wait for the other end of a FIFO.
_SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHARED = stat.S_IRWXG | stat.S_IRWXO


def ensure_private_folder(path: Path) -> None:
    """Create or take over the folder, so that only its owner can enter it.

    Raises:
        OSError: it is a link, belongs to another user, or other users may have put something into it.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=PRIVATE_FOLDER)
    if path.is_symlink():
        raise _not_permitted("it is a link: name the folder that it leads to")
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE_FLAGS)
    try:
        about = os.fstat(descriptor)
        mode = stat.S_IMODE(about.st_mode)
        if _owner(about) != os.geteuid():
            raise _not_permitted(_wrong_owner(about))
        if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and os.listdir(descriptor)):
            raise _not_permitted(
                f"other users can write in it (mode {mode:04o}): check its content, then chmod 700"
            )
        if mode & _SHARED:
            os.fchmod(descriptor, PRIVATE_FOLDER)
    finally:
        os.close(descriptor)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a file that only its owner can read, atomically; replace a link at its path.

    Raises:
        OSError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name[:_KEPT_OF_NAME]}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE_FLAGS, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def open_private(path: Path, flags: int) -> int:
    """Open a file that only this user can access; create it if `flags` request that.

    Raises:
        OSError: it is a link, a second hard link to a file, not a regular file, or another user's.
    """
    try:
        descriptor = os.open(path, flags | _SAFE_FLAGS, PRIVATE_FILE)
    except OSError as error:
        raise (_not_permitted("it is a link") if error.errno == errno.ELOOP else error) from None
    try:
        if problem := _not_ours(os.fstat(descriptor)):
            raise _not_permitted(problem)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path, *, longest: int = -1) -> str:
    """Return the text of a file that Moorage wrote, at most `longest` bytes of it.

    Raises:
        OSError: it cannot be read, or other users may read or write it.
        UnicodeDecodeError: it is not text.
    """
    with os.fdopen(open_private(path, os.O_RDONLY), "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & _SHARED:
            raise _not_permitted(f"other users can read or write it (mode {mode:04o}): chmod 600")
        return file.read(longest).decode()


def foreign_entries(path: Path) -> Iterator[str]:
    """Yield a sentence for each entry at or below this path that Moorage did not put there."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(about.st_mode):
        if _owner(about) != os.geteuid():
            yield f"{path}: {_wrong_owner(about)}"
            return
        for inner in sorted(path.iterdir()):
            yield from foreign_entries(inner)
    elif problem := _not_ours(about):
        yield f"{path}: {problem}"


def read_trusted(path: Path, *, longest: int = -1) -> bytes:
    """Return the content of a file that was given to this user, at most `longest` bytes of it.

    It may be a link and a pipe (`<(…)` of a shell).

    Raises:
        OSError: it cannot be read, or other users have written it or may write it.
    """
    return read_trusted_with_status(path, longest=longest)[0]


def read_trusted_with_status(path: Path, *, longest: int = -1) -> tuple[bytes, os.stat_result]:
    """Read a file as `read_trusted` does; return also the status of the very file that was read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        mode = stat.S_IMODE(about.st_mode)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (stat.S_ISREG(about.st_mode) or stat.S_ISFIFO(about.st_mode)):
            raise _not_permitted("it is no file")
        if _owner(about) not in (0, os.geteuid()):
            raise _not_permitted(f"{_wrong_owner(about)}, not to root or to the user who reads it: chown it")
        if mode & stat.S_IWOTH:
            raise _not_permitted(f"all users can write it (mode {mode:04o}): chmod o-w")
        os.set_blocking(descriptor, True)
        return file.read(longest), about


def _not_ours(about: os.stat_result) -> str:
    if stat.S_ISLNK(about.st_mode):
        return "it is a link"
    if not stat.S_ISREG(about.st_mode):
        return "it is no file"
    if _owner(about) != os.geteuid():
        return _wrong_owner(about)
    if about.st_nlink > 1:
        return "it has a second name elsewhere (a hard link)"
    return ""


def _wrong_owner(about: os.stat_result) -> str:
    return f"it belongs to another user (uid {_owner(about)})"


def _owner(about: os.stat_result) -> int:
    return about.st_uid


def _not_permitted(why: str) -> OSError:
    return OSError(errno.EPERM, why)
