"""Parses a YAML text into nodes with their positions, so that a change affects nothing else.

Nothing is resolved: a plain `2222:22` stays these characters, however a version of YAML reads them. The
parser is libyaml, of which kubectl's parser is a port.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

#: The C extension if there is one, because PyYAML without it refuses tabs where libyaml and kubectl accept
#: them.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_QUOTED = frozenset({"'", '"', "|", ">"})
#: Characters that end a line, and a comment, in YAML 1.1.
BREAKS = "\n\r\x85\u2028\u2029"
#: Limit of nodes, so that aliases of aliases cannot fill the memory; a kubeconfig has fewer.
MAX_NODES = 100_000


class NotYaml(Exception):
    """The text cannot be parsed. It has no details, because they would quote a text with credentials."""


@dataclass(eq=False)
class Node:
    """A value and its position: `text[start:end]`, with its tag and anchor, without comments."""

    start: int
    end: int
    tag: str | None = None

    @property
    def real(self) -> "Node":
        """The node itself, or the target of an alias."""
        return self

    @property
    def is_null(self) -> bool:
        """Return whether the value is null in YAML."""
        return False


@dataclass(eq=False)
class Scalar(Node):
    """A scalar; `plain` if it has no quotes, which would make it a text."""

    value: str = ""
    plain: bool = True

    @property
    def is_null(self) -> bool:
        """Return whether the value is null in YAML."""
        return self.plain and self.tag is None and self.value in _NULLS


@dataclass(eq=False)
class Sequence(Node):
    """A list. `dashes` has the positions of its dashes, if it is in block style."""

    flow: bool = False
    items: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Mapping(Node):
    """Pairs in their order; a key can be repeated, and kubectl uses the last one."""

    flow: bool = False
    pairs: list[tuple[Node, Node]] = field(default_factory=list)

    def get(self, key: str) -> Node | None:
        """Return the value that kubectl uses for the key: the last one, also if merged by `<<`."""
        found = None
        for name, value in self.pairs:
            if is_merge(name):
                for inner in merged(value):
                    if (there := inner.get(key)) is not None:
                        found = there
                        break
            elif has_text(name, key):
                found = value
        return found


@dataclass(eq=False)
class Alias(Node):
    """A reference to a node earlier in the text."""

    target: Node = field(default_factory=lambda: Scalar(0, 0))

    @property
    def real(self) -> Node:
        """Return the node that the alias refers to."""
        return self.target


def parse(text: str) -> Node | None:
    """Parse the first document, as kubectl does; None if there is none; raise NotYaml."""
    try:
        events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                return _Composer(events).node(next(events))
    except (yaml.YAMLError, RecursionError, UnicodeEncodeError) as error:
        raise NotYaml from error
    return None


def dash_before(text: str, place: int) -> int:
    """Return the position of the last dash of a block-style list before the place."""
    found = 0
    tokens: Iterator[Any] = iter(yaml.scan(text, Loader=_LOADER))
    for token in tokens:
        if token.start_mark.index >= place:
            break  # The rest can be another document, which does not have to be valid.
        if type(token) is yaml.BlockEntryToken:
            found = token.start_mark.index
    return found


class _Composer:
    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Node] = {}

    def node(self, event: Any) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise NotYaml
            return Alias(start, end, target=self._anchors[event.anchor])
        if isinstance(event, yaml.ScalarEvent):
            return self._known(event, Scalar(start, end, event.tag, event.value, event.style not in _QUOTED))
        if isinstance(event, yaml.SequenceStartEvent):
            sequence = Sequence(start, start, event.tag, bool(event.flow_style))
            self._known(event, sequence)
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                sequence.items.append(self.node(event))
            sequence.end = _end(sequence.flow, event, start, sequence.items)
            return sequence
        mapping = Mapping(start, start, event.tag, bool(event.flow_style))
        self._known(event, mapping)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mapping.pairs.append((self.node(event), self.node(next(self._events))))
        mapping.end = _end(mapping.flow, event, start, [node for pair in mapping.pairs for node in pair])
        return mapping

    def _known(self, event: Any, node: Node) -> Node:
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node


def _end(flow: bool, event: Any, start: int, inner: list[Node]) -> int:
    """Return the end of a flow collection, or the end of the last part of a block collection."""
    return int(event.end_mark.index) if flow else max([start, *(node.end for node in inner)])


def has_text(node: Node, text: str) -> bool:
    """Return whether the node is this text."""
    real = node.real
    return isinstance(real, Scalar) and real.value == text


def is_merge(key: Node) -> bool:
    """Return whether the key merges other mappings into its mapping."""
    return isinstance(key, Scalar) and key.plain and key.tag is None and key.value == "<<"


def merged(value: Node) -> list[Mapping]:
    """Return the mappings of a merge key; the first one has precedence."""
    real = value.real
    parts = real.items if isinstance(real, Sequence) else [real]
    return [part.real for part in parts if isinstance(part.real, Mapping)]


def is_equal(one: Node, other: Node, known: set[tuple[int, int]] | None = None) -> bool:
    """Return whether two nodes of two texts have the same content, with the same quoting.

    Aliases are replaced by their targets.
    """
    known = set() if known is None else known
    a, b = one.real, other.real
    if (id(a), id(b)) in known:
        return True
    known.add((id(a), id(b)))
    if type(a) is not type(b) or a.tag != b.tag:
        return False
    if isinstance(a, Scalar) and isinstance(b, Scalar):
        return a.value == b.value and a.plain == b.plain
    if isinstance(a, Sequence) and isinstance(b, Sequence):
        return len(a.items) == len(b.items) and all(map(lambda x, y: is_equal(x, y, known), a.items, b.items))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return len(a.pairs) == len(b.pairs) and all(
            is_equal(x[0], y[0], known) and is_equal(x[1], y[1], known)
            for x, y in zip(a.pairs, b.pairs, strict=True)
        )
    return False


def to_data(node: Node) -> Any:
    """Return the data of the node, for values that every version of YAML reads in the same way.

    These are plain `true`, `false`, nulls and decimal integers; everything else is a text.

    Raises:
        NotYaml: A key is not a text, or there are more than `MAX_NODES` nodes.
    """
    return _to_data(node, [MAX_NODES])


def _to_data(node: Node, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise NotYaml
    real = node.real
    if isinstance(real, Sequence):
        return [_to_data(item, left) for item in real.items]
    if isinstance(real, Mapping):
        found = {}
        for key, value in real.pairs:
            if not isinstance(key.real, Scalar):
                raise NotYaml
            found[key.real.value] = _to_data(value, left)
        return found
    return _plain(real) if isinstance(real, Scalar) else None


def _plain(real: Scalar) -> Any:
    if not real.plain or real.tag is not None:
        return real.value
    if real.is_null:
        return None
    if real.value in ("true", "false"):
        return real.value == "true"
    digits = real.value.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    return int(real.value) if is_number and len(digits) < 16 else real.value
