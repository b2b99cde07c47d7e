"""Lives that have ended, from the records that the workers keep: Temporal drops a run after its retention."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from clients.jsonl_file import JsonLinesFile
from contracts.environment.models import Phase
from contracts.notifications import LifeRecord
from contracts.temporal import workflow_memo
from contracts.types.naming import is_name, life_id, workflow_id
from starter.auth.policy import Principal, Verb, is_allowed, relations
from starter.environments.run_description import memo_value
from starter.environments.schemas import (
    EnvironmentRow,
    EnvironmentView,
    LifeSummary,
    LifeView,
    certificate_view,
)
from starter.temporal.errors import CALL_TIMEOUT
from worker.codec import DecodeError

#: Number of records that one visibility query compares with the runs that Temporal still has.
BATCH_SIZE = 100
REMARK = "Temporal has dropped its run; this is from its record."


class LifeRecords:
    """The records of a file, sorted by end time, latest first; read again when the file changes."""

    def __init__(self, client: Client, file: Path | None) -> None:
        self._client = client
        self._file = file
        self._read_at: tuple[int, int] | None = None
        self._records: Sequence[LifeRecord] = ()
        self._retention: timedelta | None = None

    async def of_name(self, name: str, principal: Principal, verb: Verb) -> list[LifeRecord]:
        """Return the lives of the name that the principal may use the verb on, latest first."""
        if self._file is None or not is_name(name):
            return []
        records = await read_records(JsonLinesFile(self._file), name)
        return [record for record in reversed(records) if _is_allowed(record, principal, verb)]

    async def dropped(
        self, principal: Principal, matches: Callable[[LifeRecord], bool], *, offset: int, limit: int
    ) -> tuple[list[EnvironmentRow], int | None]:
        """Return up to `limit` lives that Temporal has dropped, and the next offset if any."""
        records = await self._all()
        rows: list[EnvironmentRow] = []
        kept_from = datetime.now(UTC) - await self._kept_for()
        while offset < len(records):
            batch = records[offset : offset + BATCH_SIZE]
            wanted = [
                record
                for record in batch
                if record.ended_at <= kept_from
                and _is_allowed(record, principal, Verb.LIST)
                and matches(record)
            ]
            known = await self._known_lives(wanted)
            for number, record in enumerate(batch):
                if record in wanted and record.life not in known:
                    if len(rows) == limit:
                        return rows, offset + number
                    rows.append(EnvironmentRow(**_summary_fields(record)))
            offset += len(batch)
        return rows, None

    async def _all(self) -> Sequence[LifeRecord]:
        if self._file is None:
            return ()
        try:
            stat = await asyncio.to_thread(self._file.stat)
            read_at = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            # Read anyway: rotation may just have renamed the file, and `find` searches renamed files as well.
            read_at = (0, 0)
        if read_at != self._read_at:
            lines = await JsonLinesFile(self._file).find("")
            records = await asyncio.to_thread(_parse, lines)
            records.sort(key=lambda record: record.ended_at, reverse=True)
            self._records, self._read_at = records, read_at
        return self._records

    async def _known_lives(self, records: Sequence[LifeRecord]) -> set[str]:
        """Return which of these lives Temporal still has."""
        if not records:
            return set()
        # Environment names contain no character that needs escaping in a query.
        ids = ", ".join(sorted({f"'{workflow_id(record.name)}'" for record in records}))
        found: set[str] = set()
        try:
            async for run in self._client.list_workflows(f"WorkflowId IN ({ids})", rpc_timeout=CALL_TIMEOUT):
                request_id = await memo_value(run, workflow_memo.REQUEST_ID, "")
                found.add(life_id(request_id) if request_id else "")
        except (RPCError, DecodeError):
            return {record.life for record in records}
        return found

    async def _kept_for(self) -> timedelta:
        """Return how long Temporal keeps closed runs; zero if the server does not report it."""
        if self._retention is None:
            try:
                found = await self._client.workflow_service.describe_namespace(
                    DescribeNamespaceRequest(namespace=self._client.namespace), timeout=CALL_TIMEOUT
                )
            except RPCError:
                return timedelta(0)
            self._retention = found.config.workflow_execution_retention_ttl.ToTimedelta()
        return self._retention


async def read_records(file: JsonLinesFile, name: str) -> list[LifeRecord]:
    """Return the records of the name, oldest first, one per life; skip unreadable lines."""
    records = _parse(await file.find(f'"name":"{name}"'))
    return [record for record in records if record.name == name]


def view_of_record(record: LifeRecord) -> EnvironmentView:
    """Build the view of an ended life from its record."""
    return EnvironmentView(
        **_summary_fields(record),
        collaborators=record.collaborators,
        usable_at=record.usable_at,
        ready_at=record.ready_at,
        problem=record.problem,
        certificate=certificate_view(record.certificate) if record.certificate else None,
        audit_log=record.audit_log,
        remark=REMARK,
    )


def life_of_record(record: LifeRecord) -> LifeView:
    """Build the view of a life in a history from its record."""
    return LifeView.of(view_of_record(record).model_copy(update={"remark": ""}))


def _summary_fields(record: LifeRecord) -> dict[str, Any]:
    same = {field: getattr(record, field) for field in LifeSummary.model_fields if hasattr(record, field)}
    return same | {"phase": Phase.GONE, "ended": True}


def _is_allowed(record: LifeRecord, principal: Principal, verb: Verb) -> bool:
    held = relations(principal, owner=record.owner, team=record.team, collaborators=record.collaborators)
    return is_allowed(verb, held)


def _parse(lines: Sequence[str]) -> list[LifeRecord]:
    found: dict[str, LifeRecord] = {}
    for line in lines:
        try:
            record = LifeRecord.model_validate_json(line)
        except ValidationError:
            continue
        found[record.life] = record
    return list(found.values())
