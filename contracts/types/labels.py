"""Labels of an environment: pairs of a key and a value, by which users find and delete several at once."""

import re
from collections.abc import Iterable, Mapping

#: Labels of one environment. With the longest keys and values, that many fit into the search attribute.
MAX_LABELS = 10

_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")

_FORM = "at most 63 letters, digits and {}, with a letter or digit at both ends"


def ensure_label(key: str, value: str) -> None:
    """Return if this can be a label; raise ValueError with a sentence if not."""
    if not _KEY.fullmatch(key):
        raise ValueError(f'"{key[:80]}" cannot be the key of a label: {_FORM.format(". _ / -")}')
    if not _VALUE.fullmatch(value):
        raise ValueError(f'"{value[:80]}" cannot be the value of a label: {_FORM.format(". _ -")}')


def parse_label(text: str) -> tuple[str, str]:
    """Return the key and the value of "KEY=VALUE"; raise ValueError with a sentence if it is none."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f'"{text[:80]}" is not a label: write KEY=VALUE')
    ensure_label(key, value)
    return key, value


def ensure_selector(text: str) -> None:
    """Return if it is "KEY=VALUE" or "KEY", which selects every value; raise ValueError if not."""
    key, _, value = text.partition("=")
    ensure_label(key, value)


def index_of(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the selectors that match the labels, as the search attribute has them."""
    return tuple(selector for key in sorted(labels) for selector in (key, f"{key}={labels[key]}"))


def labels_of(index: Iterable[str]) -> dict[str, str]:
    """Return the labels of which these are the selectors."""
    pairs = (entry.partition("=") for entry in index)
    return {key: value for key, equals, value in pairs if equals}


def are_selected(labels: Mapping[str, str], selectors: Iterable[str]) -> bool:
    """Return whether every selector matches the labels."""
    return set(selectors) <= set(index_of(labels))


def format_labels(labels: Mapping[str, str]) -> str:
    """Return the labels in one line."""
    return ", ".join(f"{key}={labels[key]}" for key in sorted(labels))
