"""Reads the parameters of a request, and checks how a template declares its parameters."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from contracts.templates.parameters import (
    DEFAULT_PATTERN,
    MAX_TEXT,
    Parameter,
    ParameterType,
    ParameterValue,
    format_value,
    misplaced_markers,
)
from contracts.templates.template import Template
from contracts.types.printable_text import ensure_printable
from starter.config_files.validation_messages import did_you_mean
from starter.config_files.yaml_source import Where
from starter.request_errors import FieldProblem

#: JSON and Helm hold integers up to this exactly.
_MAX_NUMBER = 2**53
_NUMBERS = (ParameterType.INTEGER, ParameterType.NUMBER)
_BOOLEANS = {"true": True, "false": False}


def read_parameters(
    template: Template, given: Mapping[str, ParameterValue]
) -> tuple[dict[str, ParameterValue], list[FieldProblem]]:
    """Return the given parameters with their types, and the problem of each that cannot be used.

    Texts are read as their types, because command lines and forms have only texts.
    """
    found: dict[str, ParameterValue] = {}
    problems: list[FieldProblem] = []
    for name, value in given.items():
        parameter = template.parameters.get(name)
        if parameter is None:
            message = f"{template.name} has no such parameter{did_you_mean(name[:80], template.parameters)}"
            problems.append(FieldProblem(field=f"parameters.{name[:80]}", message=message))
            continue
        try:
            found[name] = read_value(parameter, value)
        except ValueError as error:
            problems.append(FieldProblem(field=f"parameters.{name}", message=str(error)))
    for name, parameter in template.parameters.items():
        if parameter.is_required and name not in given:
            message = f"is missing: {parameter.description} ({_wanted(parameter)})"
            problems.append(FieldProblem(field=f"parameters.{name}", message=message))
    # In the order of the template, so that the same parameters make the same request.
    return {name: found[name] for name in template.parameters if name in found}, problems


def read_value(parameter: Parameter, value: ParameterValue) -> ParameterValue:
    """Return the value with the parameter's type; raise ValueError with a sentence if it is not one."""
    refusal = f'"{format_value(value)[:80]}" is not {_wanted(parameter)}'
    if parameter.type is ParameterType.BOOLEAN:
        read = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(read, bool):
            raise ValueError(refusal)
        return read
    if parameter.type in _NUMBERS:
        return _read_number(parameter, value, refusal)
    if not isinstance(value, str):
        raise ValueError(f'{format_value(value)[:80]} is not text: put it in quotes, "…"')
    if parameter.type is ParameterType.CHOICE:
        if value not in parameter.choices:
            raise ValueError(refusal + did_you_mean(value, parameter.choices).partition(": there is")[0])
        return value
    ensure_printable(value)
    if len(value) > MAX_TEXT:
        raise ValueError(f"is too long: at most {MAX_TEXT} characters")
    try:
        _matcher(parameter.pattern or DEFAULT_PATTERN).validate_python(value)
    except ValidationError:
        raise ValueError(refusal) from None
    return value


def declaration_problems(template: Template) -> Iterator[tuple[Where, str]]:
    """Yield the place and a sentence for everything that is wrong with the parameters of a template."""
    for name, parameter in template.parameters.items():
        yield from ((("parameters", name, *place), words) for place, words in _declared(parameter))
    yield from (
        (("values", *path), words) for path, words in misplaced_markers(template.values, template.parameters)
    )


def _declared(parameter: Parameter) -> Iterator[tuple[Where, str]]:
    for field, types in (
        ("choices", (ParameterType.CHOICE,)),
        ("pattern", (ParameterType.STRING,)),
        ("minimum", _NUMBERS),
        ("maximum", _NUMBERS),
    ):
        if getattr(parameter, field) not in ((), "", None) and parameter.type not in types:
            yield (field,), f"does not belong to the type {parameter.type}"
    if parameter.type is ParameterType.CHOICE and not parameter.choices:
        yield ("choices",), "is missing: a list of texts"
    try:
        ensure_printable(parameter.description)
        for choice in parameter.choices:
            ensure_printable(choice)
    except ValueError as error:
        yield (), str(error)
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None and low > high:
        yield ("minimum",), f"{low} is more than the maximum, {high}"
    if parameter.pattern:
        try:
            _matcher(parameter.pattern)
        except SchemaError:
            yield ("pattern",), "is not a regular expression (without look-around and back references)"
            return
        if parameter.is_required and parameter.example is None:
            yield ("example",), "is missing: a value that matches the pattern, by which the chart is checked"
    for field in ("default", "example"):
        value = getattr(parameter, field)
        if value is not None:
            try:
                read = read_value(parameter, value)
            except ValueError as error:
                yield (field,), str(error)
            else:
                if type(read) is not type(value):
                    yield (field,), f"{format_value(value)} is not {_wanted(parameter)}: leave the quotes out"


def _read_number(parameter: Parameter, value: ParameterValue, refusal: str) -> int | float:
    if isinstance(value, bool):
        raise ValueError(refusal)
    try:
        number = float(value)
        exact = int(value) if isinstance(value, str | int) and str(value).strip("+-").isdecimal() else number
    except (ValueError, OverflowError):
        raise ValueError(refusal) from None
    if not math.isfinite(number) or abs(number) > _MAX_NUMBER or "_" in str(value):
        raise ValueError(refusal)
    if parameter.type is ParameterType.INTEGER:
        if number != int(number):
            raise ValueError(refusal)
        exact = int(exact)
    if (parameter.minimum is not None and exact < parameter.minimum) or (
        parameter.maximum is not None and exact > parameter.maximum
    ):
        raise ValueError(refusal)
    return exact


def _matcher(pattern: str) -> TypeAdapter[str]:
    # The engine in Rust takes linear time, whatever the pattern and the text are.
    return TypeAdapter(Annotated[str, StringConstraints(pattern=f"^(?:{pattern})$")])


def _wanted(parameter: Parameter) -> str:
    """Return what a value must be, in words."""
    match parameter.type:
        case ParameterType.BOOLEAN:
            return "true or false"
        case ParameterType.CHOICE:
            return f"one of {', '.join(parameter.choices)}"
        case ParameterType.STRING:
            return f"a text that matches {parameter.pattern or DEFAULT_PATTERN}"
        case _:
            kind = "a whole number" if parameter.type is ParameterType.INTEGER else "a number"
            low, high = parameter.minimum, parameter.maximum
            if low is not None and high is not None:
                return f"{kind} from {low} to {high}"
            return kind + (
                f" of at least {low}"
                if low is not None
                else f" of at most {high}"
                if high is not None
                else ""
            )
