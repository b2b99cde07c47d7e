"""Parser for YAML files that users write; it reports every problem with line and column."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from clients.safe_yaml import UnsupportedYaml, compose_yaml, value_of
from starter.config_files.validation_messages import sentence

Where = tuple[str | int, ...]
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class FileProblem:
    """One problem in a file: its place, its field ("" for the whole file), and a sentence."""

    file: Path
    line: int
    field: str
    message: str
    column: int = 1

    def __str__(self) -> str:
        """Format the problem as compilers do, so that editors can open its place."""
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}:{self.column}: {field}{self.message}"


class FilesUnusable(Exception):
    """Files that users wrote cannot be used; `problems` has every reason, not only the first."""

    def __init__(self, problems: Iterable[FileProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Document:
    """The content of a YAML file as Kubernetes and Helm read it, with the line and column of each part.

    The constructor raises `FilesUnusable` if the file cannot be read, is not YAML, or repeats a key.
    """

    def __init__(self, file: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self.file = file
        try:
            node = compose_yaml(read(file).decode())
            self.content: Any = value_of(node)
        except OSError as error:
            raise FilesUnusable([self.problem((), f"cannot be read: {error.strerror}")]) from None
        except UnicodeDecodeError:
            raise FilesUnusable([self.problem((), "is not text in UTF-8")]) from None
        except (yaml.YAMLError, ValueError) as error:
            # Do not use the parser's full text, because it quotes the file; its problem and line are enough.
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            problem = getattr(error, "problem", None) or "it cannot be parsed"
            # A parser error means that the file is not valid YAML; NotLikeKubernetes has its own message.
            words = problem if isinstance(error, UnsupportedYaml) else f"is not valid YAML: {problem}"
            raise FilesUnusable([FileProblem(file, line, "", words, column)]) from None
        self._root = node
        if halves := list(_lone_surrogates(node)):
            raise FilesUnusable(
                FileProblem(
                    file, mark.line + 1, "", "holds half of a character (\\ud800 to \\udfff)", mark.column + 1
                )
                for mark in halves
            )
        if twice := list(_repeated_keys(node)):
            raise FilesUnusable(
                FileProblem(file, mark.line + 1, key, "stands here twice", mark.column + 1)
                for key, mark in twice
            )

    def place_of(self, path: Where) -> tuple[int, int]:
        """Return line and column of `path`, or of its parent if `path` is missing."""
        node, place = getattr(self, "_root", None), (1, 1)
        for part in path:
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(part)]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                found = [(entry, entry) for entry in node.value[part : part + 1]]
            else:
                found = []
            if not found:
                return place
            key, node = found[0]
            place = key.start_mark.line + 1, key.start_mark.column + 1
        return place

    def problem(self, path: Where, message: str) -> FileProblem:
        """Build a problem of the part at `path`."""
        line, column = self.place_of(path)
        return FileProblem(self.file, line, ".".join(map(str, path)), message, column)

    def problems_of(self, error: ValidationError, model: type[BaseModel]) -> list[FileProblem]:
        """Convert the validation errors of `model` to problems, one sentence each."""
        return [self.problem(detail["loc"], sentence(detail, model)) for detail in error.errors()]


def _lone_surrogates(node: yaml.Node | None) -> Iterator[yaml.Mark]:
    """Yield the marks of scalars with half a surrogate pair, which cannot be encoded as UTF-8."""
    if isinstance(node, yaml.ScalarNode):
        if _SURROGATE.search(node.value):
            yield node.start_mark
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for part in pair:
                yield from _lone_surrogates(part)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _lone_surrogates(entry)


def _repeated_keys(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Mark]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    yield key.value, key.start_mark
                seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated_keys(entry)
