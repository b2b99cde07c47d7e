"""What the parts of the record of an environment change: its status and its audit trail."""

from datetime import datetime
from typing import Protocol

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

with workflow.unsafe.imports_passed_through():
    from contracts.environment.models import EnvironmentStatus


class StatusRecord(Protocol):
    """The record as its parts see it; `workflows.record.state` is the one that there is."""

    status: EnvironmentStatus

    @property
    def expiry_attributes(self) -> list[SearchAttributeUpdate[datetime]]:
        """The search attributes for the end, and for what is due before it."""

    def set_fields(self, **fields: object) -> None:
        """Set fields of the status, and show it."""

    def move_end(self, ends_at: datetime, actor: str, action: str, result: str) -> None:
        """Record another end, and why."""

    def add_log_entry(
        self, actor: str, action: str, result: str = "", ends_at: datetime | None = None
    ) -> None:
        """Add a line to the audit trail."""
