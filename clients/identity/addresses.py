"""The comparison of addresses, the same for every directory."""

import string

#: The letters whose case an address ignores.
LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def is_same_address(one: str, other: str | None) -> bool:
    """Return whether two addresses are equal, ignoring the case of A to Z only.

    Addresses that differ in other letters may belong to different users, also if Unicode takes these letters
    for the same: a long s is no s, and the Kelvin sign no k.
    """
    return other is not None and one.translate(LOWER_CASE) == other.translate(LOWER_CASE)
