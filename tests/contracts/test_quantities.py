"""Quantities as apimachinery reads them: every legal one, and only those."""

import json
import re
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.types.quantities import MAX_LENGTH, POSITIVE_PATTERN, parse_quantity

#: What `resource.ParseQuantity` of apimachinery 0.36.0 makes of each; run, not read.
TABLE = [
    json.loads(line)
    for line in (Path(__file__).parent / "kubernetes_quantities.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
#: Of no digits at all: its grammar does not have them, though its code takes them for nothing.
NO_DIGITS = {"e3", ".", "+", "-", "m", "Ki", ".Ki"}
MOST = 2**63 - 1
#: The suffixes of https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, written
#: out once more, so that a slip in one of the two tables is seen.
SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(1000),
    "M": Fraction(1000**2),
    "G": Fraction(1000**3),
    "T": Fraction(1000**4),
    "P": Fraction(1000**5),
    "E": Fraction(1000**6),
    "Ki": Fraction(1024),
    "Mi": Fraction(1024**2),
    "Gi": Fraction(1024**3),
    "Ti": Fraction(1024**4),
    "Pi": Fraction(1024**5),
    "Ei": Fraction(1024**6),
}

digits = st.text("0123456789", min_size=1, max_size=25)
numbers = st.one_of(
    digits,
    digits.map(lambda whole: f"{whole}."),
    digits.map(lambda part: f".{part}"),
    st.tuples(digits, digits).map(".".join),
)
exponents = st.tuples(st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), digits).map("".join)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: json.dumps(row["quantity"]))
def test_quantities_are_read_as_kubernetes_reads_them(row: dict[str, Any]) -> None:
    if row.get("refused") or row["quantity"] in NO_DIGITS:
        with pytest.raises(ValueError, match="is not a quantity"):
            parse_quantity(row["quantity"])
        return
    # What is larger than it can hold is cut to that, as documented; Kubernetes' own sums overflow there.
    wanted = min(max(Decimal(row["is"]), -Decimal(MOST)), Decimal(MOST))
    assert parse_quantity(row["quantity"]) == wanted


@given(sign=st.sampled_from(["", "+", "-"]), number=numbers, suffix=st.sampled_from(sorted(SUFFIXES)))
def test_every_number_with_every_suffix_is_read(sign: str, number: str, suffix: str) -> None:
    exact = abs(Fraction(f"0{number.rstrip('.')}") * SUFFIXES[suffix])
    rounded = min(Fraction(ceil(exact * 10**9), 10**9), Fraction(MOST))
    assert Fraction(parse_quantity(f"{sign}{number}{suffix}")) == (-rounded if sign == "-" else rounded)


@given(number=numbers, exponent=exponents)
def test_every_exponent_is_read_without_much_work(number: str, exponent: str) -> None:
    found = parse_quantity(number + exponent)
    power = int(exponent[1:])
    if abs(power) < 100:
        exact = Fraction(f"0{number.rstrip('.')}") * Fraction(10) ** power
        assert Fraction(found) == min(Fraction(ceil(exact * 10**9), 10**9), Fraction(MOST))
    else:
        assert 0 <= found <= MOST


@given(st.text("0123456789.eE+-numkKMGTPi ", max_size=8))
def test_what_people_may_give_is_what_can_be_read(text: str) -> None:
    """Ensures that the pattern of templates and settings, and the parser, have one grammar."""
    try:
        is_read = not text.startswith("-") and parse_quantity(text) is not None
    except ValueError:
        is_read = False
    assert (re.fullmatch(POSITIVE_PATTERN, text) is not None) is is_read


def test_a_long_text_is_refused_and_not_quoted_whole() -> None:
    with pytest.raises(ValueError, match="is not a quantity") as error:
        parse_quantity("9" * 100_000)
    assert len(str(error.value)) < MAX_LENGTH + 60
