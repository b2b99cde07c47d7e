"""Validation messages: one sentence with the problem and the correction, for files and requests."""

import difflib
from collections.abc import Iterable
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from contracts.templates.template import DIGEST_PATTERN
from contracts.types.quantities import POSITIVE_PATTERN


def sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Return a sentence for one pydantic error of `model`: the problem and the correction."""
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
        case "string_unicode":
            return "holds half of a character: write it on one line, in UTF-8"
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
    """Return `: did you mean "…"?` if a known value is similar, else the known values."""
    known = sorted(known)
    lower = {word.lower(): word for word in known}
    if close := difflib.get_close_matches(given.lower(), lower, n=1, cutoff=0.5):
        return f': did you mean "{lower[close[0]]}"?'
    return f": there is {_listed(known)}" if known else ""


def _listed(words: list[str]) -> str:
    return ", ".join(words) if len(words) <= 12 else ", ".join(words[:12]) + " and more"


def _fields(loc: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """Return the fields of the model in which `loc` ends, as far as names can be followed."""
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


#: Descriptions of the patterns in the contracts.
_FORMS = {
    POSITIVE_PATTERN: (
        'is not a Kubernetes quantity: write a number and a unit, such as "500m", "2" or "4Gi"'
    ),
    DIGEST_PATTERN: "is not sha256: and 64 hexadecimal digits in lower case",
    r"^v?1\.[0-9]{1,2}(\.[0-9]{1,3})?$": 'is not a Kubernetes version: write "v1.36" or "v1.36.2"',
    r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$": (
        "cannot be a name: at most 30 lower-case letters, digits and hyphens, "
        "beginning with a letter and not ending with a hyphen"
    ),
}
