"""Ensures that the first rows of a list come from as many pages as needed, and no more."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.environment.models import Phase
from starter.audit_trail import service
from starter.audit_trail.entries import TrailFilters
from starter.audit_trail.service import AuditTrail
from starter.auth.policy import Principal, Role
from starter.environments.lists.listing import PAGE_ROWS, EnvironmentList, Filters
from starter.environments.schemas import EnvironmentPage
from tests.page.test_platform import row

OPS = Principal(person="Ops", email="ops@example.com", teams=(), role=Role.PLATFORM)
PARTIAL = "Not all environments in Temporal were searched"


class Pages(EnvironmentList):
    """A list of running and of ended environments, in pages."""

    def __init__(self, running: int, ended: int = 0) -> None:
        self.rows = {
            False: [row(f"running-{number}") for number in range(running)],
            True: [row(f"ended-{number}", ended=True, phase=Phase.GONE) for number in range(ended)],
        }
        self.reads = 0

    async def page(
        self, principal: Principal, filters: Filters, *, limit: int, cursor: str | None
    ) -> EnvironmentPage:
        self.reads += 1
        start = int(cursor or 0)
        rows = self.rows[filters.ended]
        following = str(start + limit) if start + limit < len(rows) else None
        return EnvironmentPage(environments=tuple(rows[start : start + limit]), next=following)


@pytest.mark.parametrize(
    ("rows", "found", "reads", "is_complete"),
    [(0, 0, 1, True), (PAGE_ROWS, PAGE_ROWS, 1, True), (PAGE_ROWS + 1, PAGE_ROWS + 1, 2, True),
     (9 * PAGE_ROWS, 3 * PAGE_ROWS, 3, False)],
)  # fmt: skip
async def test_first_rows_of_a_list(rows: int, found: int, reads: int, is_complete: bool) -> None:
    pages = Pages(rows)
    first, has_all = await pages.first(OPS, Filters(), 2 * PAGE_ROWS + 1)
    assert ([one.name for one in first], has_all) == (
        [f"running-{number}" for number in range(found)],
        is_complete,
    )
    assert pages.reads == reads


@pytest.mark.parametrize(
    ("running", "ended", "has_records", "is_partial"),
    [(3, 0, True, False), (5, 9, True, False), (6, 0, True, True),
     (3, 2, False, False), (3, 3, False, True), (5, 1, False, True)],
)  # fmt: skip
async def test_trail_says_when_it_has_not_searched_every_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, running: int, ended: int, has_records: bool,
    is_partial: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(service, "MAX_WORKFLOWS", 5)
    names: list[str] = []

    async def read(name: str) -> None:
        names.append(name)

    file = tmp_path / "audit-log.jsonl" if has_records else None
    reader: Any = SimpleNamespace(read=read)
    page = await AuditTrail(Pages(running, ended), reader, file).search(OPS, TrailFilters(), 10)
    assert (PARTIAL in page.remark) is is_partial
    assert len(names) == min(5, running if has_records else running + ended)
