"""The command line reads the API's answers with views that are not the server's models: they must agree."""

import inspect
import json
import types
import typing
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from contracts.environment.models import AuditLogEntry, Outcome, Phase, Problem, StepName, StepState
from contracts.reconcile.drift import Deviation, DriftedLife
from contracts.reconcile.models import Orphan, ReconcileResult, SettledLine, SurveyedSystem
from contracts.rollout import RolloutLine, RolloutStatus
from contracts.sweeps.expiry import OutcomeCount, SweepLine, SweepOutcome, SweepResult
from contracts.sweeps.leavers import LeaverLine, LeaverSweepResult
from contracts.templates.parameters import Parameter
from contracts.templates.template import Extension, Size, TimeToLive
from starter.api.routes import sign_in
from starter.bookings import schemas as bookings
from starter.catalogue import schemas as offered
from starter.cli.views.base import parse, to_json
from starter.cli.views.environments import EnvironmentView
from starter.environments import schemas
from starter.environments.rollout import RolloutView
from starter.expiry.leavers import LeaversView
from starter.expiry.reconcile import ReconcileView
from starter.expiry.sweeps import SweepView
from starter.placement import schemas as capacity
from tests.support.client_views import VIEWS, client_view

NOW = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
#: The model of each view, where it has another name.
RENAMED = {"ProblemView": Problem}
MODELS: dict[str, Any] = {
    model.__name__: model
    for model in (
        *(each for module in (schemas, offered, capacity, sign_in) for each in vars(module).values()),
        *vars(bookings).values(),
        OutcomeCount, SweepResult, SweepLine, SweepView,
        LeaversView, LeaverSweepResult, LeaverLine,
        ReconcileView, ReconcileResult, SurveyedSystem, Orphan, SettledLine, DriftedLife, Deviation,
        RolloutView, RolloutStatus, RolloutLine,
        Extension, Parameter, Size, TimeToLive, AuditLogEntry,
    )
    if inspect.isclass(model) and issubclass(model, BaseModel)
}  # fmt: skip
#: Types that the command line reads as another one.
READ_AS: dict[Any, Any] = {
    # Printed as the API sent it.
    ("EnvironmentView", "ttl"): str | None,
    # An older command line reads an answer of a new kind.
    ("Done", "kind"): str,
    ("CallerView", "role"): str,
    ("Parameter", "type"): str,
    ("Orphan", "verdict"): str,
    ("RolloutLine", "outcome"): str,
    ("SettledLine", "verdict"): str | None,
    ("SurveyedSystem", "system"): str,
    ("BookingRow", "phase"): str,
    ("BookingView", "phase"): str,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.__name__)
def test_view_has_the_fields_of_the_model(view: Any) -> None:
    """Ensures that a view has every field of the API's model, and requires the same ones."""
    model = RENAMED.get(view.__name__) or MODELS[view.__name__]
    required = {field.name for field in msgspec.structs.fields(view) if field.required}
    fields = sent_fields(model)
    assert set(view.__struct_fields__) == set(fields)
    assert required == {name for name, field in fields.items() if field.is_required()}


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: view.__name__)
def test_fields_of_a_view_have_the_types_of_the_model(view: Any) -> None:
    """Ensures that every value that the API's model allows can be read."""
    model = RENAMED.get(view.__name__) or MODELS[view.__name__]
    found = {name: shape(hint) for name, hint in typing.get_type_hints(view).items()}
    expected = {
        name: shape(READ_AS.get((view.__name__, name), field.annotation))
        for name, field in sent_fields(model).items()
    }
    assert found == expected


def sent_fields(model: Any) -> dict[str, Any]:
    """The fields of a model that are in a response."""
    return {name: field for name, field in model.model_fields.items() if not field.exclude}


def shape(annotation: Any) -> Any:
    """The type without what validates it; a model and its view are equal."""
    if typing.get_origin(annotation) is typing.Annotated:
        return shape(typing.get_args(annotation)[0])
    if arguments := typing.get_args(annotation):
        origin = typing.get_origin(annotation)
        if origin in (types.UnionType, typing.Union):
            return frozenset(map(shape, arguments))
        return origin, *map(shape, arguments)
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        [name] = [n for n, model in (MODELS | RENAMED).items() if model is annotation and n in VIEWS]
        return VIEWS[name]
    return annotation


def environment() -> schemas.EnvironmentView:
    problem = Problem(step="group", system="Rafay", cause="It fails.", remedy="Correct it.", type="Rejected")
    return schemas.EnvironmentView(
        name="demo", life="l", owner="a@example.com", team="blue", template="small", template_version=3,
        phase=Phase.TEARING_DOWN, outcome=Outcome.FAILED, requested_at=NOW, ttl=timedelta(days=1, hours=12),
        collaborators=("b@example.com",), problem=problem, unfinished=(problem,), next_pass_at=NOW,
        steps=(
            schemas.StepView(
                step=StepName.ROLE_BINDING, system="Rafay", state=StepState.UNDO_FAILED, started_at=NOW,
                progress=schemas.Progress(attempt=2, next_attempt_at=NOW),
            ),
        ),
        certificate=schemas.CertificateView(
            inspected_at=NOW, nothing_left=False, systems=(schemas.SystemView(system="Rafay", left=("x",)),)
        ),
        audit_log=(AuditLogEntry(at=NOW, actor="a@example.com", action="requested it"),),
        frozen=schemas.FreezeView(reason="a fair", since=NOW), unwell=schemas.Unwell(what="no node"),
    )  # fmt: skip


def test_environment_keeps_its_json() -> None:
    """Ensures that the CLI prints the JSON that the API sent."""
    sent = environment().model_dump(mode="json")
    assert json.loads(json.dumps(to_json(client_view(environment())))) == sent


def test_answers_of_every_kind_are_read() -> None:
    """Ensures that durations, sweeps and capacities are read as the API writes them."""
    ttl = TimeToLive(default="8h", maximum="1d 12h", extension=Extension(times=2, total="4h"), grace="30m")
    template = offered.TemplateView(
        name="small", version=1, description="d", kubernetes="v1.36.0", ttl=ttl,
        size=Size(cpu="1", memory="1Gi", storage="1Gi", pods=10),
    )  # fmt: skip
    assert client_view(template).ttl.maximum == timedelta(hours=36)
    assert client_view(template).ttl.extension.total == timedelta(hours=4)
    line = SweepLine(name="demo", reason="its end has come")
    result = SweepResult(now=NOW).plus(SweepOutcome.ENDED, line)
    sweep = SweepView(id="1", dry_run=False, over=True, result=result, message="done")
    assert client_view(sweep).result.ended.lines[0].name == "demo"
    share = capacity.ShareView(total=None, held=1, left=None)
    shares = capacity.SharesView(environments=share, cpu=share, memory=share)
    host = capacity.HostView(name="h", labels={"tier": "gpu"}, shares=shares, known=True)
    view = capacity.CapacityView(audited_at=NOW, hosts=(host,), quotas=(), environments=1)
    assert client_view(view).hosts[0].labels == {"tier": "gpu"}


@pytest.mark.parametrize("change", [{"phase": "odd"}, {"name": 5}, {"requested_at": "soon"}, {"steps": {}}])
def test_other_content_is_refused(change: dict[str, object]) -> None:
    """Ensures that a document of another shape is no view."""
    with pytest.raises(ValueError, match="no EnvironmentView"):
        parse(environment().model_dump(mode="json") | change, EnvironmentView)


def test_unknown_fields_are_ignored() -> None:
    """Ensures that an older command line reads a newer API."""
    content = environment().model_dump(mode="json") | {"new": {"a": 1}}
    assert parse(content, EnvironmentView).name == "demo"
