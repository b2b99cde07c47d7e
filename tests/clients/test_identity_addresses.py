"""Ensures that an address is of one person: look-alike letters are other letters."""

import pytest

from clients.identity.addresses import is_same_address


@pytest.mark.parametrize("other", ["sam@example.com", "SAM@Example.COM", "Sam@example.com"])
def test_case_of_ascii_letters_is_ignored(other: str) -> None:
    assert is_same_address("sam@example.com", other)


@pytest.mark.parametrize(
    "other",
    [
        "\N{LATIN SMALL LETTER LONG S}am@example.com",
        "strasse@example.com",
        "\N{KELVIN SIGN}am@example.com",
        "sam@example.com ",
        "",
        None,
    ],
)
def test_other_letters_are_other_people(other: str | None) -> None:
    assert not is_same_address("sam@example.com", other)
    assert not is_same_address("stra\N{LATIN SMALL LETTER SHARP S}e@example.com", other)
    assert not is_same_address("kam@example.com", other)


@pytest.mark.parametrize("kind", ["okta", "entra", "keycloak", "scim_people"])
def test_every_adapter_compares_by_it(kind: str) -> None:
    """Ensures that no adapter folds the case of all letters by itself."""
    from importlib import import_module
    from inspect import getsource

    module = import_module(f"clients.identity.{kind}")
    assert module.is_same_address is is_same_address
    assert "casefold" not in getsource(module)
