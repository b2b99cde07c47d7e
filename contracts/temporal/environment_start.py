"""How the workflow of an environment is started: its options, and what Temporal's Web UI shows of it."""

from typing import Any

from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from contracts.environment.models import Phase
from contracts.environment_workflow import EnvironmentStart
from contracts.temporal import search_attributes
from contracts.temporal.workflow_memo import build_memo
from contracts.types.durations import format_duration
from contracts.types.labels import format_labels, index_of
from contracts.types.naming import workflow_id

#: Longest summary that Temporal stores, in bytes.
MAX_SUMMARY = 200


def start_options(start: EnvironmentStart) -> dict[str, Any]:
    """Return the options of `Client.start_workflow`, except the task queue.

    The server starts the workflow only if the name has no open run.

    Raises:
        ValueError: The template's values contain an invalid quantity.
    """
    environment = start.environment
    summary = f"{environment.name}: {environment.template.name} of {environment.owner}"
    if start.forced_by:
        summary = f"{environment.name}: teardown of its remains, for {start.forced_by}"
    return {
        "id": workflow_id(environment.name),
        "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "memo": build_memo(start),
        "search_attributes": TypedSearchAttributes(_search_attributes(start)),
        "static_summary": summary[:MAX_SUMMARY],
        "static_details": _details(start),
    }


def _search_attributes(start: EnvironmentStart) -> list[SearchAttributePair[Any]]:
    environment, carried = start.environment, start.carried
    attributes: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.OWNER, environment.owner),
        SearchAttributePair(search_attributes.COLLABORATORS, environment.collaborators),
        SearchAttributePair(search_attributes.TEAM, environment.spec.team),
        SearchAttributePair(
            search_attributes.PHASE, (carried.status.phase if carried else Phase.PROVISIONING).value
        ),
        SearchAttributePair(search_attributes.TEMPLATE, environment.template.name),
        SearchAttributePair(search_attributes.HOST, environment.host),
        SearchAttributePair(search_attributes.LABELS, index_of(environment.spec.labels)),
    ]
    if carried:
        attributes += [
            SearchAttributePair(search_attributes.EXPIRES_AT, carried.status.expires_at),
            SearchAttributePair(search_attributes.DUE_AT, carried.status.term.due_at),
        ]
    return attributes


def _details(start: EnvironmentStart) -> str:
    environment, template = start.environment, start.environment.template
    end = (
        "Its own workflow was closed from outside. Never Terminate this one"
        if start.forced_by
        else "To end it: `moorage delete`, or Cancel here. Never Terminate"
    )
    labels = format_labels(environment.spec.labels)
    return (
        f"- owner: {environment.owner} ({environment.spec.team})\n"
        f"- template: {template.name}, version {template.version}\n"
        f"- host cluster: {environment.host}\n"
        f"- name of everything that is made for it: {environment.derived_name}\n"
        + (f"- name on its host, with a standby: {environment.host_name}\n" if environment.standby else "")
        + f"- owner mark: {environment.mark.text}\n"
        f"- time to live: {format_duration(environment.ttl)}\n"
        + (f"- labels: {labels}\n" if labels else "")
        + "\n"
        f"{end}: nothing would be taken down."
    )
