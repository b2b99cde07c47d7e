"""Places in YAML that users write: where a field is, and what a value cannot show, such as repeated keys."""

import re
from collections.abc import Iterator, Sequence

import yaml

_SURROGATE = re.compile("[\ud800-\udfff]")


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
