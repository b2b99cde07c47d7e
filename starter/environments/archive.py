"""Ended environments that Temporal no longer keeps: lists read them from the account file of the trail."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from clients.jsonl_file import JsonLinesFile
from contracts import workflow_memo
from contracts.environment import Phase
from contracts.naming import life_of, workflow_id
from contracts.notifications import LifeRecord
from starter.auth.policy import Principal, Verb, may, relations
from starter.environments.reader import remembered
from starter.environments.schemas import EnvironmentRow, EnvironmentView, certificate_view
from starter.temporal.errors import CALL_PATIENCE
from worker.codec import DecodeError

#: Number of accounts that one visibility query compares with the runs that Temporal still has.
AT_ONCE = 100
REMARK = "Temporal has dropped its run; this is from its account."


def view_of_record(account: LifeRecord) -> EnvironmentView:
    """Build the view of an ended life from its account, when Temporal has dropped its run."""
    return EnvironmentView(
        name=account.name,
        life=account.life,
        owner=account.owner,
        team=account.team,
        template=account.template,
        host=account.host,
        collaborators=account.collaborators,
        phase=Phase.GONE,
        outcome=account.outcome,
        ended=True,
        requested_at=account.requested_at,
        ended_at=account.ended_at,
        certificate=certificate_view(account.certificate) if account.certificate else None,
        trail=account.trail,
        remark=REMARK,
    )


def is_for(account: LifeRecord, principal: Principal, verb: Verb) -> bool:
    """Return whether the principal may use this verb on the life of the account."""
    return may(
        verb,
        relations(principal, owner=account.owner, team=account.team, collaborators=account.collaborators),
    )


class LifeArchive:
    """The accounts of a file, sorted by end time, latest first; re-read when the file changes."""

    def __init__(self, client: Client, file: Path | None) -> None:
        self._client = client
        self._file = file
        self._read_at: tuple[int, int] | None = None
        self._accounts: Sequence[LifeRecord] = ()
        self._retention: timedelta | None = None

    async def rows(
        self, principal: Principal, matches: Callable[[LifeRecord], bool], *, offset: int, limit: int
    ) -> tuple[list[EnvironmentRow], int | None]:
        """Return up to `limit` lives that Temporal has dropped, and the next offset if any."""
        accounts = await self._all()
        rows: list[EnvironmentRow] = []
        kept_from = datetime.now(UTC) - await self._kept_for()
        while offset < len(accounts):
            batch = accounts[offset : offset + AT_ONCE]
            wanted = [
                one
                for one in batch
                if one.ended_at <= kept_from and is_for(one, principal, Verb.LIST) and matches(one)
            ]
            known = await self._known(wanted)
            for number, one in enumerate(batch):
                if one in wanted and one.life not in known:
                    if len(rows) == limit:
                        return rows, offset + number
                    rows.append(_row(one))
            offset += len(batch)
        return rows, None

    async def _all(self) -> Sequence[LifeRecord]:
        if self._file is None:
            return ()
        try:
            about = await asyncio.to_thread(self._file.stat)
            read_at = (about.st_mtime_ns, about.st_size)
        except OSError:
            # Read anyway: rotation may just have renamed the file, and `find` searches renamed files as well.
            read_at = (0, 0)
        if read_at != self._read_at:
            lines = await JsonLinesFile(self._file).find("")
            self._accounts, self._read_at = await asyncio.to_thread(_parsed, lines), read_at
        return self._accounts

    async def _known(self, accounts: Sequence[LifeRecord]) -> set[str]:
        """Return which of these lives Temporal still has."""
        if not accounts:
            return set()
        # Environment names contain no character that needs escaping in a query.
        ids = ", ".join(sorted({f"'{workflow_id(one.name)}'" for one in accounts}))
        found: set[str] = set()
        try:
            async for run in self._client.list_workflows(f"WorkflowId IN ({ids})", rpc_timeout=CALL_PATIENCE):
                request_id = await remembered(run, workflow_memo.REQUEST_ID, "")
                found.add(life_of(request_id) if request_id else "")
        except (RPCError, DecodeError):
            return {one.life for one in accounts}
        return found

    async def _kept_for(self) -> timedelta:
        """Return how long Temporal keeps closed runs; zero if the server does not report it."""
        if self._retention is None:
            try:
                found = await self._client.workflow_service.describe_namespace(
                    DescribeNamespaceRequest(namespace=self._client.namespace), timeout=CALL_PATIENCE
                )
            except RPCError:
                return timedelta(0)
            self._retention = found.config.workflow_execution_retention_ttl.ToTimedelta()
        return self._retention


def _parsed(lines: Sequence[str]) -> list[LifeRecord]:
    found: dict[str, LifeRecord] = {}
    for line in lines:
        try:
            account = LifeRecord.model_validate_json(line)
        except ValidationError:
            continue
        found[account.life] = account
    return sorted(found.values(), key=lambda account: account.ended_at, reverse=True)


def _row(account: LifeRecord) -> EnvironmentRow:
    return EnvironmentRow(
        name=account.name,
        life=account.life,
        owner=account.owner,
        team=account.team,
        template=account.template,
        host=account.host,
        phase=Phase.GONE,
        outcome=account.outcome,
        ended=True,
        requested_at=account.requested_at,
        ended_at=account.ended_at,
    )
