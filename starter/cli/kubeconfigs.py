"""Kubeconfig files: written so that only their owner can read them, and merged without losing a word."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from starter.cli.failing import CliError, Code

#: Contexts, clusters and users of ours begin so; nothing else in a merged file is touched.
OURS = "moorage-"
_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}
#: kubectl holds its lock for the moment of a write; one that is older was left behind by a crash.
LOCK_SECONDS = 5.0


def write_private(path: Path, text: str) -> None:
    """Write the file whole or not at all, readable by its owner only; a link stays, its target changes."""
    path = path.resolve()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never through a file that is there already: it could be a link, or open in somebody's hands.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CliError(Code.FAILED, f"{path} cannot be written: {error.strerror}") from None


def default_kubeconfig(environ: Mapping[str, str] = os.environ) -> Path:
    """The file that kubectl would write to: the first of KUBECONFIG, or ~/.kube/config."""
    for part in environ.get("KUBECONFIG", "").split(os.pathsep):
        if part:
            return Path(part)
    return Path.home() / ".kube" / "config"


def renamed(text: str, name: str) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """The current context of a kubeconfig as `moorage-<name>`, with its cluster and user named so too."""
    try:
        content = yaml.safe_load(text)
        context = _entry(content, "contexts", content["current-context"])
        cluster = _entry(content, "clusters", context["cluster"])
        user = _entry(content, "users", context["user"])
    except (yaml.YAMLError, KeyError, TypeError, StopIteration):
        # Not the parser's own text: it quotes what it could not read, which is a credential.
        raise CliError(Code.FAILED, "what the API gave is no kubeconfig with a current context") from None
    own = f"{OURS}{name}"
    return own, {
        "clusters": [{"name": own, "cluster": cluster}],
        "users": [{"name": own, "user": user}],
        "contexts": [{"name": own, "context": {**context, "cluster": own, "user": own}}],
    }


def merge(path: Path, text: str, name: str, *, switch: bool) -> tuple[str, Path | None]:
    """Put the kubeconfig into the file, beside what is there; the name of the context, and the backup.

    What the file says of others stays as it is. A backup is made before the first byte changes. With
    `switch`, and in a file that had no current context, ours becomes the current one.
    """
    own, additions = renamed(text, name)
    path = path.resolve()
    with _locked(path):
        before = _read(path)
        content = _parse(path, before)
        for section, entries in additions.items():
            there = content.get(section) or []
            if not isinstance(there, list):
                raise CliError(Code.FAILED, f"{path}: {section} is not a list, so nothing was changed")
            content[section] = [one for one in there if not _is_named(one, own)] + entries
        if switch or not content.get("current-context"):
            content["current-context"] = own
        after = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        if after == before:
            return own, None
        backup = _back_up(path, before) if before else None
        write_private(path, after)
    return own, backup


def _entry(content: Mapping[str, Any], section: str, name: str) -> Any:
    return next(one[_SECTIONS[section]] for one in content[section] if one["name"] == name)


def _is_named(entry: object, name: str) -> bool:
    return isinstance(entry, dict) and entry.get("name") == name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CliError(Code.FAILED, f"{path} cannot be read: {reason}") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        raise CliError(Code.FAILED, f"{path} is not valid YAML, so nothing was changed") from None
    if content is None:
        return {"apiVersion": "v1", "kind": "Config"}
    if not isinstance(content, dict) or content.get("kind", "Config") != "Config":
        raise CliError(Code.FAILED, f"{path} is not a kubeconfig, so nothing was changed")
    return content


def _back_up(path: Path, text: str) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 (for the person at this machine)
    backup = path.with_name(f"{path.name}.backup-{stamp}")
    number = 1
    while backup.exists():
        number += 1
        backup = path.with_name(f"{path.name}.backup-{stamp}-{number}")
    write_private(backup, text)
    return backup


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Nobody who follows kubectl's convention (a file `<name>.lock`) writes the file meanwhile."""
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise CliError(
                    Code.FAILED,
                    f"{path} is locked by another program",
                    next_steps=[f"if none is at work on it, remove {lock}"],
                ) from None
            time.sleep(0.05)
        except OSError as error:
            raise CliError(Code.FAILED, f"{path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
