"""Places in YAML that users write: where a field is, and what a value cannot show, such as repeated keys."""

import re
from collections.abc import Iterator, Sequence

import yaml

_SURROGATE = re.compile("[\ud800-\udfff]")


def places_below(root: yaml.Node | None, path: Sequence[str | int], depth: int) -> dict[str, tuple[int, int]]:
    """Return line and column of each field below `path`, by their names with dots, so many levels deep."""
    node = root
    for part in path:
        node = next((value for name, _, value in _children(node) if name == str(part)), None)
    found: dict[str, tuple[int, int]] = {}
    for name, key, value in _children(node):
        found.setdefault(name, (key.start_mark.line + 1, key.start_mark.column + 1))
        if depth > 1:
            below = places_below(value, (), depth - 1)
            found = (
                {**{f"{name}.{rest}": place for rest, place in below.items()}, **found} if below else found
            )
    return found


def _children(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Yield the name, the node that has its place, and the value of each part of a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield str(key.value), key, value
    elif isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            yield str(index), entry, entry


def place_of(root: yaml.Node | None, path: Sequence[str | int]) -> tuple[int, int]:
    """Return line and column of `path` below the root, or of its parent if `path` is missing."""
    node, place = root, (1, 1)
    if root is not None:
        place = root.start_mark.line + 1, root.start_mark.column + 1
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


def lone_surrogates(node: yaml.Node | None) -> Iterator[yaml.Mark]:
    """Yield the marks of scalars with half a surrogate pair, which cannot be encoded as UTF-8."""
    if isinstance(node, yaml.ScalarNode):
        if _SURROGATE.search(node.value):
            yield node.start_mark
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for part in pair:
                yield from lone_surrogates(part)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from lone_surrogates(entry)


def repeated_keys(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Mark]]:
    """Yield the keys that a mapping has more than once, with their marks."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key.value, str):
                if key.value in seen:
                    yield key.value, key.start_mark
                seen.add(key.value)
            yield from repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from repeated_keys(entry)
