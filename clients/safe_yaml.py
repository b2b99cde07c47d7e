"""Untrusted YAML, read as Kubernetes reads it: fast, and with limits.

Kubernetes and Helm read YAML with sigs.k8s.io/yaml, which is neither YAML 1.1 nor 1.2: `yes`, `on` and `y`
are booleans and `0777` is octal, but `22:30` and dates are text. The result is what JSON can hold, and what
kubectl would send; `tests/clients/kubernetes_yaml.jsonl` is the table. If a key occurs twice, the last one
counts.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn

import yaml

try:
    # Use the parser in C if PyYAML was built with it: it is ten times faster.
    from yaml._yaml import CParser

    class _Parser(CParser):
        def __init__(self, text: str) -> None:
            super().__init__(text)

except ImportError:
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Parser(Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)


#: Maximum nesting: Kubernetes' deepest schemas have some forty levels. The parser in C recurses on its
#: stack for each level, without a limit: a text that opens a hundred thousand brackets would crash the
#: process.
MAX_DEPTH = 100
#: Maximum number of characters and nodes that aliases may add to the document: etcd accepts 1.5 MiB for one
#: object. Seven lines of aliases to aliases expand to a thousand million nodes.
MAX_ALIAS_EXPANSION = 2**20

_PREFIX = "tag:yaml.org,2002:"
_STR = f"{_PREFIX}str"
#: The tag of a scalar that is neither quoted nor tagged.
_PLAIN = "plain"
_DEFAULT_TAGS = {yaml.ScalarNode: _STR, yaml.SequenceNode: f"{_PREFIX}seq", yaml.MappingNode: f"{_PREFIX}map"}

_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(_TRUE, True),
    **dict.fromkeys(_FALSE, False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
#: The digits of each base, by the prefix of the number: "0b1", "0o7" and "07", "0x1f".
_INTEGERS = (
    (re.compile(r"([-+]?)0[bB]([01]+)"), 2),
    (re.compile(r"([-+]?)0[oO]?([0-7]+)"), 8),
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"([-+]?)(0|[1-9][0-9]*)"), 10),
)
_NUMBER_STARTS = frozenset("+-.0123456789")
#: Go's int64 and uint64: numbers outside of them are floats.
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
#: Floats below this are written without an exponent, and as integers if they are whole.
_WHOLE_BELOW = 1e21


class UnsupportedYaml(yaml.MarkedYAMLError):
    """A document that Kubernetes would not read, or only at too high a cost; `problem` says why.

    It may be valid YAML.
    """


class _Loader(_Parser):
    _level = 0

    # Both parsers call this method and `ascend_resolver` when they enter and leave a node.
    def descend_resolver(self, _node: Any, _index: Any) -> None:
        self._level += 1
        if self._level > MAX_DEPTH:
            _refuse(f"is nested in more than {MAX_DEPTH} levels")

    def ascend_resolver(self) -> None:
        self._level -= 1

    def resolve(self, kind: type[yaml.Node], _value: Any, implicit: Any) -> str:
        is_plain = kind is yaml.ScalarNode and implicit[0]
        return _PLAIN if is_plain else _DEFAULT_TAGS[kind]

    def dispose(self) -> None:
        """Do nothing: the Python parser has nothing to free, and the C parser has its own method."""


#: The dumper in C, if PyYAML was built with it: it takes a tenth of the time.
_BaseDumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BaseDumper):  # type: ignore[valid-type, misc]
    def represent_text(self, text: str) -> yaml.ScalarNode:
        # JSON can hold one half of a surrogate pair, and YAML cannot.
        text = text.encode(errors="replace").decode()
        # PyYAML itself quotes what YAML 1.1 does not read as text.
        node: yaml.ScalarNode = self.represent_scalar(_STR, text, style='"' if _is_ambiguous(text) else None)
        return node

    def ignore_aliases(self, _: Any) -> bool:
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def compose_yaml(text: str) -> yaml.Node | None:
    """Parse the only document of the text; return None if it is empty.

    Raises:
        yaml.YAMLError: as in `read_yaml`.
    """
    node: yaml.Node | None = _Loader(text).get_single_node()
    _check_expansion(node, text)
    return node


def compose_all_yaml(text: str) -> list[yaml.Node]:
    """Parse all documents of the text.

    Raises:
        yaml.YAMLError: as in `read_yaml`.
    """
    loader = _Loader(text)
    found: list[yaml.Node] = []
    while loader.check_node():
        node = loader.get_node()
        _check_expansion(node, text)
        if node is not None:
            found.append(node)
    return found


def read_yaml(text: str) -> Any:
    """Read the only document of the text.

    Raises:
        yaml.YAMLError: the text is invalid; the message may quote it.
    """
    return value_of(compose_yaml(text))


def read_all_yaml(text: str) -> list[Any]:
    """Read all documents of the text.

    Raises:
        yaml.YAMLError: the text is invalid; the message may quote it.
    """
    return [value_of(node) for node in compose_all_yaml(text)]


def write_yaml(content: Any, *, ascii_only: bool = False) -> str:
    """Write the content so that we, kubectl and Helm read the same; quote ambiguous text.

    `ascii_only`: escape all other characters, for terminals.
    """
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=not ascii_only)


def value_of(node: yaml.Node | None) -> Any:
    """Return the value of the node, as JSON would hold it.

    Raises:
        yaml.YAMLError: JSON cannot hold the value.
    """
    return _value(node, as_written=False)


def text_value_of(node: yaml.Node | None) -> Any:
    """Return the value of the node with every scalar as it is written: `1.10` and `no` are text, `~` is None.

    It is for files whose fields are all text, so that nothing has to be quoted. What a mapping says itself
    comes before what it merges.

    Raises:
        yaml.YAMLError: A key or a merge is not supported.
    """
    return _value(node, as_written=True)


def _value(node: yaml.Node | None, *, as_written: bool) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value = _scalar(node)
        if as_written:
            return None if value is None else str(node.value)
        return _as_json(value, node) if isinstance(value, float) else value
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, as_written=as_written) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, as_written=as_written)
    return None


def _mapping(node: yaml.MappingNode, *, as_written: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pairs = sorted(node.value, key=lambda pair: not _is_merge(pair[0])) if as_written else node.value
    for key, value in pairs:
        if _is_merge(key):
            for merged in _merged(value):
                found.update(_mapping(merged, as_written=as_written))
        else:
            found[_key(key, as_written=as_written)] = _value(value, as_written=as_written)
    return found


def _is_merge(key: yaml.Node) -> bool:
    return bool(key.tag == _PLAIN and key.value == "<<")


def _merged(node: yaml.Node) -> Iterable[yaml.MappingNode]:
    """Return the mappings of a merge, the first one last, because it takes precedence."""
    several = list(reversed(node.value)) if isinstance(node, yaml.SequenceNode) else [node]
    mappings = [each for each in several if isinstance(each, yaml.MappingNode)]
    if len(mappings) < len(several):
        _refuse("holds a merge (<<) of what is no mapping", node)
    return mappings


def _key(node: yaml.Node, *, as_written: bool) -> str:
    """Return a key as text, as JSON requires: `1: a` becomes `"1": "a"`."""
    if not isinstance(node, yaml.ScalarNode):
        _refuse("holds a key that is a list or a mapping", node)
    if as_written:
        return str(node.value)
    value = _scalar(node)
    if value is None or (isinstance(value, int) and value > 2**63 - 1):
        _refuse("holds a key that cannot be one in JSON", node)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(_as_json(value, node)) if math.isfinite(value) else node.value.lower()
    return str(value)


def _scalar(node: yaml.ScalarNode) -> str | bool | int | float | None:
    tag, text = node.tag, node.value
    if tag == _PLAIN:
        return _plain(text)
    kind = tag.removeprefix(_PREFIX)
    if kind == "binary":
        try:
            return base64.b64decode(text, validate=False).decode(errors="replace")
        except binascii.Error:
            _refuse("holds !!binary that is not base64", node)
    if kind in ("int", "float", "bool", "null"):
        value = _plain(text)
        if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value).__name__ != {"null": "NoneType"}.get(kind, kind):
            _refuse(f"holds what is no !!{kind}, with this tag", node)
        return value
    # The scalar is quoted, or has a tag that means nothing to Kubernetes.
    return str(text)


def _is_ambiguous(text: str) -> bool:
    """Return whether some reader would not read the text as text if it were not quoted.

    Readers differ in the numbers that they hold: what is too large for Kubernetes is a number for others.
    """
    digits = text.replace("_", "")
    forms = (_FLOAT, *(form for form, _ in _INTEGERS))
    return not isinstance(_plain(text), str) or any(form.fullmatch(digits) for form in forms)


def _plain(text: str) -> str | bool | int | float | None:
    """Return the value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if text[0] == ".":
        return _float(text)
    digits = text.replace("_", "")
    for form, base in _INTEGERS:
        if found := form.fullmatch(digits):
            number = int(found[2], base) * (-1 if found[1] == "-" else 1)
            if _MIN_INTEGER <= number <= (2**63 - 1 if found[1] else _MAX_INTEGER):
                return number
            break
    value = _float(digits)
    return text if isinstance(value, str) else value


def _float(text: str) -> float | str:
    """Return the text as a float, or unchanged if it is not a float or is too large."""
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    return number if math.isfinite(number) else text


def _as_json(number: float, node: yaml.Node) -> float | int:
    """Return the number as Kubernetes reads it from JSON: it accepts a port 1e3 only as 1000."""
    if not math.isfinite(number):
        _refuse("holds a number that JSON does not have", node)
    if number.is_integer() and abs(number) < _WHOLE_BELOW:
        # Use its decimal digits: 2**64 as a float is written 18446744073709552000.
        return int(Decimal(repr(number)))
    return number


def _check_expansion(node: yaml.Node | None, text: str) -> None:
    """Refuse a document whose aliases add more than `MAX_ALIAS_EXPANSION`, or that contains itself."""
    if node is None or "*" not in text or "&" not in text:
        return
    # Measure each node once, however many aliases refer to it.
    sizes: dict[int, int] = {}
    written = 0
    entered: set[int] = set()

    def measure(each: yaml.Node) -> int:
        nonlocal written
        if id(each) in sizes:
            return sizes[id(each)]
        if id(each) in entered:
            _refuse("holds an anchor that contains itself", each)
        entered.add(id(each))
        own = 1 + (len(each.value) if isinstance(each, yaml.ScalarNode) else 0)
        written += own
        if isinstance(each, yaml.SequenceNode):
            own += sum(map(measure, each.value))
        elif isinstance(each, yaml.MappingNode):
            own += sum(measure(key) + measure(value) for key, value in each.value)
        sizes[id(each)] = own
        return own

    if measure(node) - written > MAX_ALIAS_EXPANSION:
        _refuse(f"holds aliases that add more than {MAX_ALIAS_EXPANSION} characters to what is written")


def _refuse(problem: str, node: yaml.Node | None = None) -> NoReturn:
    mark = node.start_mark if node is not None else None
    raise UnsupportedYaml(problem=problem, problem_mark=mark)
