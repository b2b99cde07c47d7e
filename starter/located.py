"""YAML files that people write, read so that every problem can be told with its line, and as a sentence."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class FileProblem:
    """One thing that is wrong in a file: where, in which field ("" for the whole), and a sentence."""

    file: Path
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        """The problem as compilers write it, so that editors can jump to it."""
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}: {field}{self.message}"


class FilesUnusable(Exception):
    """Files that people wrote cannot be used; `problems` names every reason, not only the first."""

    def __init__(self, problems: Iterable[FileProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Document:
    """A YAML file's content, and the line on which each part of it stands.

    Raises `FilesUnusable` for what cannot be read, is no YAML, or says the same key twice.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            text = file.read_text(encoding="utf-8")
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.content: Any = yaml.safe_load(text)
        except OSError as error:
            raise FilesUnusable([self.problem((), f"cannot be read: {error.strerror}")]) from None
        except UnicodeDecodeError:
            raise FilesUnusable([self.problem((), "is not text in UTF-8")]) from None
        except (yaml.YAMLError, ValueError) as error:
            # The parser's own text quotes the file; its problem and its line are enough.
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            said = getattr(error, "problem", None) or "it cannot be parsed"
            raise FilesUnusable([FileProblem(file, line, "", f"is not valid YAML: {said}")]) from None
        self._root = node
        if twice := list(_repeated_keys(node)):
            raise FilesUnusable(FileProblem(file, line, key, "stands here twice") for key, line in twice)

    def line_of(self, path: Where) -> int:
        """The line on which `path` stands; of what is missing, the line of what should hold it."""
        node, line = getattr(self, "_root", None), 1
        for part in path:
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(part)]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                found = [(entry, entry) for entry in node.value[part : part + 1]]
            else:
                found = []
            if not found:
                return line
            key, node = found[0]
            line = key.start_mark.line + 1
        return line

    def problem(self, path: Where, message: str) -> FileProblem:
        """A problem of the part at `path`."""
        return FileProblem(self.file, self.line_of(path), ".".join(map(str, path)), message)

    def problems_of(self, error: ValidationError, model: type[BaseModel]) -> list[FileProblem]:
        """The problems that `model` has with the content, one sentence each."""
        return [self.problem(detail["loc"], sentence(detail, model)) for detail in error.errors()]


def _repeated_keys(node: yaml.Node | None) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    yield key.value, key.start_mark.line + 1
                seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated_keys(entry)


def sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with one field, and what would be right, for what pydantic says of `model`."""
    given, context = detail["input"], detail.get("ctx", {})
    shown = f'"{given}"' if isinstance(given, str | int | float) else "what is there"
    match detail["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return (
                f"there is no such field{did_you_mean(str(detail['loc'][-1]), _fields(detail['loc'], model))}"
            )
        case "string_type":
            return f'{shown} is not text: put it in quotes, "…"'
        case "string_pattern_mismatch":
            return f"{shown} {_FORMS.get(context['pattern'], 'must match ' + context['pattern'])}"
        case "value_error" | "assertion_error":
            return str(context.get("error", detail["msg"]))
        case "enum" | "literal_error":
            return f"{shown} is not one of {context['expected']}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"{shown} is not a whole number"
        case "greater_than_equal":
            return f"{shown} is too small: at least {context['ge']}"
        case "less_than_equal":
            return f"{shown} is too large: at most {context['le']}"
        case "string_too_short":
            return f"is too short: at least {context['min_length']} characters"
        case "string_too_long":
            return f"is too long: at most {context['max_length']} characters"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f'{shown} is not a group of fields: write them below it, indented, as "field: value"'
        case "tuple_type" | "list_type":
            return f"{shown} is not a list: write [one, two]"
        case _:
            return detail["msg"][:1].lower() + detail["msg"][1:]


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean "…"?` if something known is close to what was given, else what there is."""
    known = sorted(known)
    if close := difflib.get_close_matches(given.lower(), known, n=1, cutoff=0.5):
        return f': did you mean "{close[0]}"?'
    return f": there is {_listed(known)}" if known else ""


def _listed(words: list[str]) -> str:
    return ", ".join(words) if len(words) <= 12 else ", ".join(words[:12]) + " and more"


def _fields(loc: Where, model: type[BaseModel]) -> list[str]:
    """The fields of the model in which `loc` ends, as far as it can be followed by names."""
    current: type[BaseModel] = model
    for part in loc[:-1]:
        field = current.model_fields.get(str(part))
        inner = field.annotation if field else None
        candidates = [inner, *get_args(inner)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models and not isinstance(part, int):
            return []
        current = models[0] if models else current
    return list(current.model_fields)


#: What a pattern of the contracts asks for, in words.
_FORMS = {
    r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$": (
        'is not a Kubernetes quantity: write a number and a unit, such as "500m", "2" or "4Gi"'
    ),
    r"^v?1\.[0-9]{1,2}(\.[0-9]{1,3})?$": 'is not a Kubernetes version: write "v1.36" or "v1.36.2"',
    r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$": (
        "cannot be a name: at most 30 lower-case letters, digits and hyphens, "
        "beginning with a letter and not ending with a hyphen"
    ),
}
