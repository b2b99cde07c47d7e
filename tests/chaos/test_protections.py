"""Ensures that each protection can still be taken away, as `python -m tests.chaos.protections` does."""

import pytest

from tests.chaos.protections import PROTECTIONS, ROOT, Protection, without


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda protection: protection.name)
def test_it_is_where_it_was(protection: Protection) -> None:
    source = (ROOT / protection.file).read_text(encoding="utf-8")
    compile(without(source, protection), protection.file, "exec")
