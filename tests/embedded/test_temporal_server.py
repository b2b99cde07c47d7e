"""The command of the Temporal dev server."""

from contracts.temporal import search_attributes
from embedded.stack.temporal_server import SEARCH_ATTRIBUTES


def test_search_attributes_are_those_of_the_contracts() -> None:
    types = {key.name: key.indexed_value_type.name.title().replace("_", "") for key in search_attributes.ALL}
    assert types == SEARCH_ATTRIBUTES
