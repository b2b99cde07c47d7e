"""Ensures that a reconcile sweep starts a life once and says so, though an answer or a worker is lost."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.sweep import ReconcileSweep
from contracts.environment.models import Phase
from contracts.environment_workflow import EnvironmentStart, LifecycleTimeouts
from contracts.reconcile.models import Orphan, SettledLine, SettleInput, Verdict
from contracts.reconcile.orphan_rules import Judgement, LatestRun, RunKind
from contracts.types.naming import life_id
from tests.activities.activity_runs import Running
from tests.activities.conftest import INSTALLATION, an_environment

#: When the activity was scheduled; the same for each attempt.
SCHEDULED = ActivityEnvironment.default_info().scheduled_time
ENVIRONMENT = an_environment("demo")
LOST = RPCError("deadline exceeded", RPCStatusCode.DEADLINE_EXCEEDED, b"")
NONE = RPCError("no such run", RPCStatusCode.NOT_FOUND, b"")


class Temporal:
    """Temporal with at most one run of the name; `answer` is what a start says after it has taken effect."""

    def __init__(self, answer: Exception | None = None, *, takes_effect: bool = True) -> None:
        self.answer = answer
        self.takes_effect = takes_effect
        self.starts = 0
        self.request_id = ""
        self.started_at = SCHEDULED

    async def start_workflow(self, _: str, start: EnvironmentStart, **__: Any) -> None:
        self.starts += 1
        if self.takes_effect:
            self.begin(start.request_id)
        if self.answer:
            raise self.answer

    def begin(self, request_id: str, after: timedelta = timedelta(seconds=1)) -> None:
        """Let a run of this request be the latest one."""
        self.request_id, self.started_at = request_id, SCHEDULED + after

    def get_workflow_handle(self, _: str) -> Any:
        async def memo_value(*_: Any, **__: Any) -> str:
            return self.request_id

        async def describe(**_: Any) -> Any:
            if not self.request_id:
                raise NONE
            return SimpleNamespace(memo_value=memo_value, start_time=self.started_at)

        return SimpleNamespace(describe=describe)


class Orphans:
    """Reads the life as an orphan until Temporal has a run of it."""

    def __init__(self, temporal: Temporal, request_id: str, verdict: Verdict) -> None:
        self._temporal = temporal
        self._request_id = request_id
        self._verdict = verdict

    async def read(self, _: object) -> Any:
        if self._temporal.request_id == self._request_id:
            return None
        run = LatestRun(RunKind.LOST, phase=Phase.READY)
        return SimpleNamespace(run=run, judgement=Judgement(self._verdict, "it was closed"))

    async def start_of(self, *_: object) -> EnvironmentStart:
        return EnvironmentStart(environment=ENVIRONMENT, request_id=self._request_id, people_are_checked=True)


REQUEST = "request-1"
RESULTS = {Verdict.ADOPT: "adopted", Verdict.UNDO: "its teardown has started"}


async def settled(temporal: Temporal, verdict: Verdict, *, attempt: int = 1) -> SettledLine:
    """Return what an attempt of the activity says about the life."""
    systems = cast("MarkedSystems", SimpleNamespace(installation=INSTALLATION))
    sweep = ReconcileSweep(cast("Any", temporal), systems, LifecycleTimeouts())
    sweep._orphans = cast("Any", Orphans(temporal, REQUEST, verdict))
    orphan = Orphan(
        name="demo", life=life_id(REQUEST), verdict=verdict, reason="it was closed", first_seen=SCHEDULED
    )
    input = SettleInput(orphans=(orphan,), actor="the reconcile sweep", task_queue="moorage")
    [line] = (await Running(sweep.settle, input, attempt=attempt).result()).lines
    return cast("SettledLine", line)


@pytest.mark.parametrize("verdict", RESULTS)
async def test_the_answer_to_a_start_is_lost(verdict: Verdict) -> None:
    temporal = Temporal(LOST)
    line = await settled(temporal, verdict)
    assert (line.result, line.verdict, line.failed) == (RESULTS[verdict], verdict, False)
    assert temporal.starts == 1


@pytest.mark.parametrize("verdict", RESULTS)
async def test_a_start_that_takes_no_effect_is_left_to_the_next_sweep(verdict: Verdict) -> None:
    temporal = Temporal(LOST, takes_effect=False)
    line = await settled(temporal, verdict)
    assert (line.verdict, line.failed) == (None, True)
    assert "left alone" in line.result
    temporal.answer, temporal.takes_effect = None, True
    assert (await settled(temporal, verdict)).result == RESULTS[verdict]


@pytest.mark.parametrize("verdict", RESULTS)
async def test_the_worker_is_lost_after_the_start(verdict: Verdict) -> None:
    """Ensures that the next attempt starts nothing, and says what the first one has done."""
    temporal = Temporal()
    await settled(temporal, verdict)
    line = await settled(temporal, verdict, attempt=2)
    assert (line.result, line.verdict) == (RESULTS[verdict], verdict)
    assert temporal.starts == 1


async def test_a_run_of_before_is_not_the_work_of_this_sweep() -> None:
    """Ensures that a life whose run was only late in the lists is not counted as adopted."""
    temporal = Temporal()
    temporal.begin(REQUEST, after=-timedelta(hours=1))
    line = await settled(temporal, Verdict.ADOPT, attempt=2)
    assert (line.verdict, line.failed, temporal.starts) == (None, False, 0)


async def test_another_sweep_was_faster() -> None:
    temporal = Temporal(WorkflowAlreadyStartedError("environment/demo", "EnvironmentWorkflow"))
    line = await settled(temporal, Verdict.ADOPT)
    assert (line.result, line.verdict, line.failed) == ("its name has a run again", None, False)


async def test_a_lost_answer_beside_a_run_of_another_life() -> None:
    temporal = Temporal(LOST, takes_effect=False)
    temporal.begin("request-2")
    assert (await settled(temporal, Verdict.ADOPT)).failed
    assert temporal.starts == 1
