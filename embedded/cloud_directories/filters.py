"""Filter expressions: `profile.name eq "x" and (…)` of Okta, `displayName eq 'x'` of OData."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

Document = Mapping[str, Any]
Matches = Callable[[Document], bool]
#: Returns the test of one comparison of a field with a value, or raises FilterError.
Compare = Callable[[str, str, Any], Matches]


class FilterError(ValueError):
    """The text is no filter, or a field or operator in it is not supported."""


class Quotes(StrEnum):
    """How a dialect writes strings."""

    OKTA = r'"(?P<double>(?:[^"\\]|\\.)*)"'  #: as in JSON
    ODATA = r"'(?P<single>(?:[^']|'')*)'"  #: a quote inside is doubled


_REST = r"(?P<punctuation>[(),])|(?P<word>[\w.:/+-]+)"
_LITERALS = {"true": True, "false": False, "null": None}


def parse_filter(text: str, quotes: Quotes, compare: Compare) -> Matches:
    """Return the test that the expression is: comparisons with `and`, `or`, `not` and parentheses.

    A function, such as `startswith(displayName,'x')`, is a comparison with its name as operator.

    Raises:
        FilterError: it is no filter, or `compare` refuses a part of it.
    """
    parser = _Parser(_tokens(text, quotes), compare)
    matches = parser.disjunction()
    parser.expect_end()
    return matches


class _Token(str):
    """A token; `is_string` tells a string from a word."""

    is_string = False


class _String(_Token):
    is_string = True


def _tokens(text: str, quotes: Quotes) -> list[_Token]:
    tokens: list[_Token] = []
    pattern = re.compile(rf"\s*(?:{quotes}|{_REST})\s*")
    position = 0
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise FilterError(f"cannot be read at {text[position:]!r}")
        groups = match.groupdict()
        if groups.get("double") is not None:
            tokens.append(_String(re.sub(r"\\(.)", r"\1", groups["double"])))
        elif groups.get("single") is not None:
            tokens.append(_String(groups["single"].replace("''", "'")))
        else:
            tokens.append(_Token(groups["punctuation"] or groups["word"]))
        position = match.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token], compare: Compare) -> None:
        self._tokens = tokens
        self._compare = compare

    def disjunction(self) -> Matches:
        parts = [self._conjunction()]
        while self._accept("or"):
            parts.append(self._conjunction())
        return lambda document: any(part(document) for part in parts)

    def expect_end(self) -> None:
        if self._tokens:
            raise FilterError(f"did not expect {str(self._tokens[0])!r}")

    def _conjunction(self) -> Matches:
        parts = [self._unary()]
        while self._accept("and"):
            parts.append(self._unary())
        return lambda document: all(part(document) for part in parts)

    def _unary(self) -> Matches:
        if self._accept("not"):
            negated = self._unary()
            return lambda document: not negated(document)
        if self._accept("("):
            inner = self.disjunction()
            self._expect(")")
            return inner
        field = self._word()
        if self._accept("("):
            function, field = field, self._word()
            self._expect(",")
            value = self._value()
            self._expect(")")
            return self._compare(field, function, value)
        operator = self._word().lower()
        if operator == "in":
            return self._compare(field, operator, self._values())
        return self._compare(field, operator, None if operator == "pr" else self._value())

    def _word(self) -> str:
        if not self._tokens or self._tokens[0].is_string or self._tokens[0] in ("(", ")", ","):
            raise FilterError("expected a field or an operator")
        return str(self._tokens.pop(0))

    def _values(self) -> list[Any]:
        self._expect("(")
        values = [self._value()]
        while self._accept(","):
            values.append(self._value())
        self._expect(")")
        return values

    def _value(self) -> Any:
        if not self._tokens:
            raise FilterError("expected a value")
        token = self._tokens.pop(0)
        return str(token) if token.is_string else _LITERALS.get(token.lower(), str(token))

    def _accept(self, wanted: str) -> bool:
        if self._tokens and not self._tokens[0].is_string and self._tokens[0].lower() == wanted:
            del self._tokens[0]
            return True
        return False

    def _expect(self, wanted: str) -> None:
        if not self._accept(wanted):
            raise FilterError(f"expected {wanted!r}")
