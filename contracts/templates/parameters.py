"""Parameters of a template: what a user can choose, and where the choice goes in the chart's values.

A value takes the place of a whole scalar, with its type. It is never a part of a text, so that no value can
change the structure of what it is in.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field

from contracts.types.models import Frozen

#: A value, with its type in the chart's values.
ParameterValue = bool | int | float | str

#: What the name of a parameter matches.
PARAMETER_PATTERN = r"^[a-z][a-z0-9_]{0,29}$"
#: Parameters of one template: a form with more is no form any more.
MAX_PARAMETERS = 20
#: The longest text, in characters: a domain name has at most 253.
MAX_TEXT = 253
#: The text of a parameter without a pattern: no space, quote or slash, nothing that a shell or YAML reads.
DEFAULT_PATTERN = r"[A-Za-z0-9]([A-Za-z0-9._@+-]*[A-Za-z0-9])?"

_MARKER = "${parameters."
#: Fields that hold commands, paths or texts of YAML: no text that a user writes may come into them.
_CLOSED_FIELDS = frozenset(
    {
        "args", "command", "hostPath", "manifests", "manifestsTemplate", "mountPath", "path", "script",
        "subPath",
    }
)  # fmt: skip


class ParameterType(StrEnum):
    """The type of a parameter, which its value has in the chart's values."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"  #: one of a closed list of texts


class Parameter(Frozen):
    """What a user can choose.

    Without a `default` it must be given; `example` is then the value that checks of the template use.
    """

    type: ParameterType
    description: str = Field(min_length=1, max_length=200)
    default: ParameterValue | None = None
    example: ParameterValue | None = None
    choices: tuple[str, ...] = Field(default=(), max_length=50)
    pattern: str = Field(default="", max_length=300)
    minimum: int | float | None = None
    maximum: int | float | None = None

    @property
    def is_required(self) -> bool:
        """Whether a request must have it."""
        return self.default is None

    @property
    def sample(self) -> ParameterValue:
        """A value for checks that have no request: its default, its example, or what its type has."""
        given = self.example if self.default is None else self.default
        if given is not None:
            return given
        if self.type is ParameterType.CHOICE:
            return self.choices[0] if self.choices else ""
        if self.type is ParameterType.BOOLEAN:
            return False
        if self.type is ParameterType.STRING:
            return "x"
        return next((bound for bound in (self.minimum, self.maximum) if bound is not None), 1)


def marker(name: str) -> str:
    """Return what a template's values have where the value of the parameter goes."""
    return f"{_MARKER}{name}}}"


def substitute(values: Mapping[str, Any], given: Mapping[str, ParameterValue]) -> dict[str, Any]:
    """Return the values with each marker replaced by the value of its parameter, with its type."""
    replacements: Mapping[str, ParameterValue] = {marker(name): value for name, value in given.items()}

    def replaced(part: Any) -> Any:
        if isinstance(part, str):
            return replacements.get(part, part)
        if isinstance(part, Mapping):
            return {key: replaced(value) for key, value in part.items()}
        if isinstance(part, list | tuple):
            return [replaced(value) for value in part]
        return part

    return {key: replaced(value) for key, value in values.items()}


def misplaced_markers(
    values: Mapping[str, Any], parameters: Mapping[str, Parameter]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the path of each marker that cannot be replaced, with a sentence."""
    names = {marker(name): name for name in parameters}
    for path, text in _texts(values):
        if _MARKER not in text:
            continue
        if text not in names:
            words = "a parameter takes the place of a whole value, and must be declared: write "
            yield path, f'"{text[:80]}" is not replaced: {words}{" or ".join(names) or "it in `parameters`"}'
        elif parameters[names[text]].type is ParameterType.STRING and _CLOSED_FIELDS.intersection(path):
            (field,) = [part for part in path if part in _CLOSED_FIELDS][:1]
            yield path, f"{names[text]} is a text, and {field} is no place for one: take a choice or a number"


def unused_parameters(values: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the parameters that no value uses."""
    used = {text for _, text in _texts(values)}
    return [name for name in parameters if marker(name) not in used]


def format_parameters(parameters: Mapping[str, ParameterValue]) -> str:
    """Return the parameters in one line, as `--set` takes them."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in parameters.items())


def format_value(value: ParameterValue) -> str:
    """Return a value as a user writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(part: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every text in the values, keys included, with its path."""
    if isinstance(part, str):
        yield path, part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            if isinstance(key, str) and _MARKER in key:
                yield (*path, key), f"{key}:"
            yield from _texts(value, (*path, key))
    elif isinstance(part, list | tuple):
        for index, value in enumerate(part):
            yield from _texts(value, (*path, index))
