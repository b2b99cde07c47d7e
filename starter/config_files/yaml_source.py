"""Parser for YAML files that users write; it reports every problem with line and column."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from clients.safe_yaml import UnsupportedYaml, compose_yaml, value_of
from clients.yaml_places import lone_surrogates, place_of, repeated_keys
from starter.config_files.validation_messages import sentence

Where = tuple[str | int, ...]


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
        if halves := list(lone_surrogates(node)):
            raise FilesUnusable(
                FileProblem(
                    file, mark.line + 1, "", "holds half of a character (\\ud800 to \\udfff)", mark.column + 1
                )
                for mark in halves
            )
        if twice := list(repeated_keys(node)):
            raise FilesUnusable(
                FileProblem(file, mark.line + 1, key, "stands here twice", mark.column + 1)
                for key, mark in twice
            )

    def place_of(self, path: Where) -> tuple[int, int]:
        """Return line and column of `path`, or of its parent if `path` is missing."""
        return place_of(getattr(self, "_root", None), path)

    def problem(self, path: Where, message: str) -> FileProblem:
        """Build a problem of the part at `path`."""
        line, column = self.place_of(path)
        return FileProblem(self.file, line, ".".join(map(str, path)), message, column)

    def problems_of(self, error: ValidationError, model: type[BaseModel]) -> list[FileProblem]:
        """Convert the validation errors of `model` to problems, one sentence each."""
        return [self.problem(detail["loc"], sentence(detail, model)) for detail in error.errors()]
