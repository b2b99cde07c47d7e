"""YAML that comes from outside, read fast, and without trust."""

from typing import Any

import yaml

try:
    # The one in C where PyYAML was built with it: ten times faster, and as safe.
    from yaml import CSafeLoader as _Fast
except ImportError:
    from yaml import SafeLoader as _Fast  # type: ignore[assignment]

#: Levels of nesting that are read: Kubernetes' deepest schemas have some forty. The loader in C goes down
#: each on its stack, without a limit: a text that opens a hundred thousand brackets would end the process.
MAX_LEVELS = 100


class _Loader(_Fast):
    _level = 0

    # Called by either loader as it enters and leaves each node.
    def descend_resolver(self, _node: Any, _index: Any) -> None:
        self._level += 1
        if self._level > MAX_LEVELS:
            raise yaml.YAMLError(f"it is nested in more than {MAX_LEVELS} levels")

    def ascend_resolver(self) -> None:
        self._level -= 1


def read_yaml(text: str) -> Any:
    """The one document of the text. Raises `yaml.YAMLError`, which may quote the text."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe one


def read_all_yaml(text: str) -> list[Any]:
    """All documents of the text. Raises `yaml.YAMLError`, which may quote the text."""
    return list(yaml.load_all(text, Loader=_Loader))
