"""The audit trail of all environments, with filters, and its export."""

import asyncio
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from contracts.types.naming import is_name
from starter.api.dependencies import AuditTrailDep, CallerDep
from starter.api.problem_details import ApiProblem
from starter.audit_trail.entries import AuditVerb, TrailFilters
from starter.audit_trail.export import iso_exact, to_csv, to_json_lines
from starter.audit_trail.service import TrailPage
from starter.auth.policy import GlobalVerb, ensure_allowed_globally
from starter.page.errors import problem_of
from starter.page.rendering import page
from starter.request_errors import FieldProblem, InvalidRequest

router = APIRouter()

#: Lines of one page, and of one export.
PAGE_LINES, EXPORT_LINES = 50, 20_000

Text = Annotated[str, Query(max_length=300)]


class ExportFormat(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    JSON_LINES = "jsonl"


_MEDIA_TYPES = {ExportFormat.CSV: "text/csv; charset=utf-8", ExportFormat.JSON_LINES: "application/jsonl"}


@router.get("/platform/audit")
async def platform_audit(
    request: Request,
    trail: AuditTrailDep,
    caller: CallerDep,
    person: Text = "",
    verb: Text = "",
    environment: Text = "",
    since: Text = "",
    before: Text = "",
) -> Response:
    """Show the latest lines that pass the filters."""
    ensure_allowed_globally(caller, GlobalVerb.AUDIT)
    typed = {"person": person, "verb": verb, "environment": environment, "since": since}
    problem: ApiProblem | None = None
    found = TrailPage(())
    try:
        found = await trail.search(caller, read_filters(**typed, before=before), PAGE_LINES)
    except InvalidRequest as error:
        problem = problem_of(error, request)
    query = {name: value for name, value in typed.items() if value}
    next_query = query | {"before": iso_exact(found.next_before)} if found.next_before else {}
    return page(
        request,
        "platform/audit.html",
        status=problem.details.status if problem else 200,
        found=found,
        typed=typed,
        is_first=not before,
        problem=problem.details if problem else None,
        verbs=[verb.value for verb in AuditVerb],
        query=urlencode(query),
        next_query=urlencode(next_query),
        export_lines=EXPORT_LINES,
    )


@router.get("/platform/audit/export")
async def export_audit(
    trail: AuditTrailDep,
    caller: CallerDep,
    person: Text = "",
    verb: Text = "",
    environment: Text = "",
    since: Text = "",
    format: ExportFormat = ExportFormat.CSV,
) -> Response:
    """Download the lines that pass the filters."""
    ensure_allowed_globally(caller, GlobalVerb.AUDIT)
    filters = read_filters(person=person, verb=verb, environment=environment, since=since)
    found = await trail.search(caller, filters, EXPORT_LINES)
    write = to_csv if format is ExportFormat.CSV else to_json_lines
    text = await asyncio.to_thread(write, found.entries)
    name = f"moorage-audit-{datetime.now(UTC):%Y-%m-%d-%H%M}.{format}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=_MEDIA_TYPES[format], headers=headers)


def read_filters(
    *, person: str = "", verb: str = "", environment: str = "", since: str = "", before: str = ""
) -> TrailFilters:
    """Return the filters that were typed; raise InvalidRequest with a sentence for each wrong field."""
    problems = []
    name = environment.strip()
    if name and not is_name(name):
        problems.append(FieldProblem(field="environment", message="is no name of an environment"))
    if verb and verb not in set(AuditVerb):
        problems.append(FieldProblem(field="verb", message=f"must be one of {', '.join(AuditVerb)}"))
    moments: dict[str, datetime | None] = {}
    for field, text in (("since", since), ("before", before)):
        try:
            moments[field] = read_moment(text.strip())
        except ValueError:
            message = 'must be a day or a time, such as "2030-01-31" or "2030-01-31T18:00Z"'
            problems.append(FieldProblem(field=field, message=message))
    if problems:
        raise InvalidRequest(problems)
    return TrailFilters(
        person=person.strip(),
        verb=AuditVerb(verb) if verb else None,
        name=name,
        since=moments["since"],
        before=moments["before"],
    )


def read_moment(text: str) -> datetime | None:
    """Return the start of a day in UTC, or a time; None for no text; raise ValueError."""
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
