"""Changes the text of a kubeconfig only in our entries and the current context.

Every other character stays in its place, so comments, quotes, line ends and the style of lists stay as well;
JSON stays JSON. The changed text is parsed again and compared with the original.
"""

import json
import re
from collections.abc import Mapping as Fields
from typing import Any

from starter.cli.kubeconfig.yaml_nodes import (
    BREAKS,
    Mapping,
    Node,
    NotYaml,
    Scalar,
    Sequence,
    dash_before,
    has_text,
    is_equal,
    is_merge,
    merged,
    parse,
    to_data,
)

#: The lists of a kubeconfig, and the field that their entries have besides a name.
SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}
CURRENT = "current-context"
_MANAGED = (*SECTIONS, CURRENT)
_NEW = "apiVersion: v1\nkind: Config\n"
#: Keys that every version of YAML reads as text.
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-.][A-Za-z0-9]+)*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_LINE_END = re.compile(f"[{BREAKS}]|$")
#: The anchor, tag and style of a block scalar, with its indentation before or after what happens to its last
#: line breaks.
_BLOCK_HEADER = re.compile(r"\A((?:[&!][^ \t\r\n]*[ \t]+)*[|>])(?:([1-9])[+-]?|[+-]?([1-9])?)(?=[ \t\r\n])")


class UnusableKubeconfig(Exception):
    """The text is no kubeconfig, or cannot be changed without other changes; the message gives the reason."""


class Config:
    """The parts of a kubeconfig that are needed to change it. The constructor raises Unusable."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            node = parse(text)
            self.is_empty = node is None or node.is_null
            self.root = node if isinstance(node, Mapping) else None
            self._check()
        except NotYaml:
            raise UnusableKubeconfig("is not valid YAML") from None

    def _check(self) -> None:
        root = self.root
        if self.is_empty:
            return
        if root is None:
            raise UnusableKubeconfig("is not a kubeconfig")
        for name, right in (("kind", "Config"), ("apiVersion", "v1")):
            said = root.get(name)
            # A missing value is valid, because kubectl then also reads the file as a kubeconfig.
            if said and not said.real.is_null and not has_text(said, right) and not has_text(said, ""):
                raise UnusableKubeconfig("is not a kubeconfig")
        for key, value in root.pairs:
            if is_merge(key) and any(inner.get(name) for inner in merged(value) for name in _MANAGED):
                raise UnusableKubeconfig("merges its lists in from elsewhere (<<)")
        for section in SECTIONS:
            there = root.get(section)
            if there is not None and not there.real.is_null and not isinstance(there.real, Sequence):
                raise UnusableKubeconfig(f"cannot be read by kubectl: {section} is not a list")

    @property
    def current(self) -> str:
        """The current context; "" if there is none."""
        value = self.root.get(CURRENT) if self.root else None
        if value is None or value.real.is_null:
            return ""
        return value.real.value if isinstance(value.real, Scalar) else ""

    def entries(self, section: str, name: str | None = None) -> list[Node]:
        """Return the entries of a section, or those with this name."""
        value = self.root.get(section) if self.root else None
        items = value.real.items if value is not None and isinstance(value.real, Sequence) else []
        return [item for item in items if name is None or _is_named(item, name)]

    def others(self, section: str, name: str | None) -> list[Node]:
        """Return the entries of a section that do not have this name."""
        return [item for item in self.entries(section) if name is None or not _is_named(item, name)]

    def names(self, section: str) -> list[str]:
        """Return the names of the entries of a section."""
        found = [item.real.get("name") for item in self.entries(section) if isinstance(item.real, Mapping)]
        return [one.real.value for one in found if one is not None and isinstance(one.real, Scalar)]

    def entry(self, section: str, name: str) -> Any:
        """Return the data of the entry with that name; None if there is none, or more than one."""
        found = [one.real for one in self.entries(section, name)]
        if len(found) != 1 or not isinstance(found[0], Mapping):
            return None
        inner = found[0].get(SECTIONS[section])
        try:
            return None if inner is None else to_data(inner)
        except NotYaml:
            return None


def _is_named(item: Node, name: str) -> bool:
    value = item.real.get("name") if isinstance(item.real, Mapping) else None
    return value is not None and has_text(value, name)


def with_entries(text: str, name: str, entries: Fields[str, Any], current: str | None = None) -> str:
    """Return the text with these entries by section, and this current context; raise Unusable.

    The value None for a section removes the entry from it.
    """
    before = Config(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    cause = None
    for after in dict.fromkeys((text, _without_open_end(text, before))):
        try:
            for section, content in entries.items():
                after = _with_entry(after, section, name, content, newline)
            if current is not None:
                after = _with_current(after, current, newline)
            if _changes_only_entries(before, Config(after), name, entries, current):
                return after
        except (NotYaml, UnusableKubeconfig) as error:
            cause = error
    raise UnusableKubeconfig("cannot be changed without a change of other entries") from cause


def _without_open_end(text: str, config: Config) -> str:
    """Return the text with the same values, none of which changes when lines are added at its end.

    A text may end within a block scalar (| or >), without a line break. One that follows would belong to its
    value, unless its header says otherwise.
    """
    node: Node | None = config.root
    while isinstance(node, Mapping | Sequence):
        inner = [value for _, value in node.pairs] if isinstance(node, Mapping) else node.items
        node = inner[-1] if inner else None
    if node is None or node.end != len(text) or text[-1:] in BREAKS:
        return text
    return text[: node.start] + _BLOCK_HEADER.sub(r"\1\2\3-", text[node.start :], count=1)


def _with_entry(text: str, section: str, name: str, content: Any, newline: str) -> str:
    config = Config(text)
    for extra in reversed(config.entries(section, name)[0 if content is None else 1 :]):
        text = _without(text, config, section, extra)
        config = Config(text)
    if content is None:
        return text
    entry = {"name": name, SECTIONS[section]: content}
    if there := config.entries(section, name):
        column = _column(text, there[0].start)
        is_block = re.fullmatch(" *- +", _line_before(text, there[0].start))
        new = _block(entry, column, newline) if is_block else _flow(entry)
        return _replaced(text, there[0], new, newline)
    value = config.root.get(section) if config.root else None
    if value is None:
        return _with_key(text, config, section, [entry], newline)
    if isinstance(value, Sequence) and value.items:
        return _appended(text, value, entry, newline)
    if not isinstance(value, Sequence) and not isinstance(value, Scalar):
        raise UnusableKubeconfig("has a list that is an alias")
    if config.root is None or config.root.flow:
        return _replaced(text, value, _flow([entry]), newline)
    # The list is empty or missing, so its lines begin in the line below.
    root = config.root.start
    head = text[: value.start].rstrip(" ")
    lines = _item(entry, _column(text, root), newline)
    return _line_inserted(head + text[value.end :], len(head), lines, newline)


def _with_current(text: str, current: str, newline: str) -> str:
    config = Config(text)
    value = config.root.get(CURRENT) if config.root else None
    if value is None:
        return _with_key(text, config, CURRENT, current, newline)
    return _replaced(text, value, _quoted(current), newline)


def _with_key(text: str, config: Config, key: str, value: Any, newline: str) -> str:
    """Return the text with one more pair at the end of its first document."""
    root = config.root
    if root is not None and root.flow:
        pair = f"{_quoted(key)}: {_flow(value)}"
        if not root.pairs:
            return text[: root.end - 1] + pair + text[root.end - 1 :]
        last = root.pairs[-1][1].end
        return f"{text[:last]},{_gap(text, root.pairs[-1][0].start)}{pair}{text[last:]}"
    column = _column(text, root.start) if root is not None else 0
    head = " " * column + f"{key}:"
    if isinstance(value, str):
        lines = f"{head} {_quoted(value)}"
    else:
        lines = newline.join([head, *(_item(entry, column, newline) for entry in value)])
    if root is not None:
        return _line_inserted(text, root.end, lines, newline)
    node = parse(text)
    lines = _NEW.replace("\n", newline) + lines
    if node is None:
        return text + (newline if text and text[-1] not in BREAKS else "") + lines + newline
    return _line_inserted(text[: node.start] + text[node.end :], node.start, lines, newline)


def _appended(text: str, value: Sequence, entry: Any, newline: str) -> str:
    last = value.items[-1]
    if value.flow:
        return f"{text[: last.end]},{_gap(text, last.start)}{_flow(entry)}{text[last.end :]}"
    column = _column(text, dash_before(text, last.start))
    return _line_inserted(text, last.end, _item(entry, column, newline), newline)


def _without(text: str, config: Config, section: str, item: Node) -> str:
    value = config.root.get(section) if config.root else None
    if not isinstance(value, Sequence):
        raise UnusableKubeconfig("has a list that is an alias")
    index = value.items.index(item)
    if value.flow:
        if len(value.items) == 1:
            return text[: text.rindex("[", 0, item.start)] + "[]" + text[value.end :]
        if index + 1 < len(value.items):
            return text[: item.start] + text[value.items[index + 1].start :]
        return text[: value.items[index - 1].end] + text[item.end :]
    dash = dash_before(text, item.start)
    start = dash - len(_line_before(text, dash))
    if text[start:dash].strip(" "):
        raise UnusableKubeconfig("has more than one dash in a line")
    end = item.end
    if text[end - 1] not in BREAKS:
        end = _end_of_line(text, end)
        end += 2 if text.startswith("\r\n", end) else 1
    return text[:start] + text[end:]


def _replaced(text: str, node: Node, new: str, newline: str) -> str:
    before, old = text[: node.start], text[node.start : node.end]
    gap = " " if not old and before and before[-1] not in " \t" else ""
    # A block scalar (| or >) includes its last line end.
    end = newline if old and old[-1] in BREAKS else ""
    return before + gap + new + end + text[node.end :]


def _line_inserted(text: str, after: int, lines: str, newline: str) -> str:
    """Return the text with separate lines below the part that ends at `after`."""
    if after and text[after - 1] in BREAKS:  # A block scalar (| or >) ends with a line end.
        return text[:after] + lines + newline + text[after:]
    end = _end_of_line(text, after)
    return text[:end] + newline + lines + (text[end:] or newline)


def _end_of_line(text: str, start: int) -> int:
    found = _LINE_END.search(text, start)
    return found.start() if found else len(text)


def _line_before(text: str, place: int) -> str:
    """Return the text in the same line before the place."""
    return re.split(f"[{BREAKS}]", text[:place])[-1]


def _column(text: str, place: int) -> int:
    return len(_line_before(text, place))


def _gap(text: str, start: int) -> str:
    """Return the separator before a part: from the line break, if the part begins a line."""
    line = _line_before(text, start)
    if line.strip(" \t") or len(line) == start:
        return " "
    return ("\r\n" if "\r\n" in text else "\n") + line


def _item(entry: Any, column: int, newline: str) -> str:
    return " " * column + "- " + _block(entry, column + 2, newline)


def _block(value: Any, column: int, newline: str) -> str:
    """Format the value in block style; the first line is already at the column."""
    indent = newline + " " * column
    if isinstance(value, dict) and value:
        return indent.join(f"{_key(key)}:{_below(inner, column, newline)}" for key, inner in value.items())
    if isinstance(value, list) and value:
        return indent.join("- " + _block(inner, column + 2, newline) for inner in value)
    return _flow(value)


def _below(value: Any, column: int, newline: str) -> str:
    if isinstance(value, dict) and value:
        return newline + " " * (column + 2) + _block(value, column + 2, newline)
    if isinstance(value, list) and value:
        return newline + " " * column + _block(value, column, newline)
    return " " + _flow(value)


def _key(key: str) -> str:
    is_plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS
    return key if is_plain else _quoted(key)


def _flow(value: Any) -> str:
    """Format the value as JSON in one line, which is also YAML of every version."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """Quote a text in double quotes, so that JSON and every version of YAML read it.

    JSON escapes characters beyond U+FFFF as a pair of surrogates, which YAML refuses.
    """
    return '"' + "".join(json.dumps(each)[1:-1] if _needs_escape(each) else each for each in text) + '"'


def _needs_escape(each: str) -> bool:
    return each in '"\\' or (each <= "\uffff" and not each.isprintable())


def _changes_only_entries(
    before: Config, after: Config, name: str, entries: Fields[str, Any], current: str | None
) -> bool:
    """Return whether the change affected only what it had to change."""
    for section, content in entries.items():
        found = after.entries(section, name)
        if (content is None and found) or (content is not None and len(found) != 1):
            return False
        if content is not None and after.entry(section, name) != content:
            return False
    if after.current != (before.current if current is None else current):
        return False
    for section in SECTIONS:
        ours = name if section in entries else None
        others = [config.others(section, ours) for config in (before, after)]
        if len(others[0]) != len(others[1]) or not all(map(is_equal, *others)):
            return False
    rests = [_rest(config) for config in (before, after)]
    if before.root is None:
        return True
    return len(rests[0]) == len(rests[1]) and all(
        is_equal(one[0], other[0]) and is_equal(one[1], other[1]) for one, other in zip(*rests, strict=True)
    )


def _rest(config: Config) -> list[tuple[Node, Node]]:
    """Return the pairs without our entries; of a repeated section, only the last one counts."""
    root = config.root
    if root is None:
        return []
    ours = [root.get(key) for key in _MANAGED]
    return [pair for pair in root.pairs if not any(pair[1] is one for one in ours)]
