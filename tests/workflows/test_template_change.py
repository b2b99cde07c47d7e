"""Changes of the template in place: room first, the same steps again, and back if they do not succeed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from contracts.capacity.models import Limits, Quotas
from contracts.capacity.sizes import size_of
from contracts.environment.chart_values import compose_values
from contracts.environment.models import EnvironmentStatus, Outcome, Phase, Spec
from contracts.environment_workflow import ActorInput, Answer, AnswerKind, ChangeTemplateInput
from contracts.errors import Refusal, RefusalReason
from contracts.phases import StepName
from contracts.reconcile.drift import UPDATE_DRIFT, Deviation, DriftInput
from contracts.templates.template import Template
from contracts.temporal import search_attributes, workflow_memo
from tests.workflows.conftest import Life, a_start, until
from tests.workflows.house import SIZE, CapacityBench, a_house
from tests.workflows.scripted_activities import fails, fails_for_good, waits
from workflows.environment.workflow import EnvironmentWorkflow

pytestmark = pytest.mark.slow

ALICE = "alice@example.com"
SMALL = a_start("a").environment.template
MEDIUM = SMALL.model_copy(
    update={"name": "medium", "version": 7, "size": SMALL.size.model_copy(update={"cpu": "3"})}
)
LARGE = SMALL.model_copy(update={"name": "large", "size": SMALL.size.model_copy(update={"cpu": "300"})})
TRIED = ["namespace", "vcluster", "kubeconfig"]


def size(template: Template) -> Any:
    environment = a_start("a").environment.model_copy(update={"template": template})
    return size_of(template.size, compose_values(environment))


@pytest.fixture
async def house(namespace: WorkflowEnvironment) -> AsyncIterator[CapacityBench]:
    async with a_house({"one": Limits(cpu=20_000)}, server=namespace) as house, house.worker():
        yield house


async def ready(house: CapacityBench, name: str) -> Life:
    life = await house.begin(name)

    async def is_ready() -> bool:
        return (await life.status()).phase is Phase.READY

    await until(is_ready, "it became ready")
    return life


async def change(
    house: CapacityBench,
    life: Life,
    template: Template,
    id: str = "c1",
    **fields: Any,
) -> Answer:
    name = life.start.environment.name
    with_snapshot = fields.pop("with_snapshot", False)
    request = house.ask(name, template=template.name, size=size(template), **fields)
    ask = ChangeTemplateInput(
        life=request.life,
        actor=ALICE,
        template=template,
        spec=Spec(template=template.name, team="blue"),
        request=request,
        with_snapshot=with_snapshot,
    )
    update: Any = EnvironmentWorkflow.change_template
    answer: Answer = await life.handle.execute_update(update, ask, id=id)
    return answer


async def over(life: Life) -> EnvironmentStatus:
    async def is_over() -> bool:
        return (await life.status()).change is None

    await until(is_over, "the change was over")
    return await life.status()


async def delete(life: Life) -> EnvironmentStatus:
    by = ActorInput(actor=ALICE, life=life.start.environment.mark.life)
    await life.handle.execute_update(EnvironmentWorkflow.delete, by)
    status: EnvironmentStatus = await life.handle.result()
    return status


def refusal_of(error: WorkflowUpdateFailedError) -> Refusal:
    assert isinstance(error.cause, ApplicationError)
    return Refusal.model_validate(error.cause.details[0])


async def test_altered_guards_are_not_repaired_during_a_change(house: CapacityBench) -> None:
    """Ensures that the sweep, which may have read the guards of before, is refused."""
    life = await ready(house, "guarded")
    house.script.before["namespace.ensure"] = waits
    house.script.started["namespace.ensure"].clear()
    await change(house, life, MEDIUM)
    await house.script.started["namespace.ensure"].wait()
    guards = Deviation(step=StepName.NAMESPACE, what="quota pods is 9 and should be 5", guards=True)
    mark = life.start.environment.mark
    ask = DriftInput(life=mark.life, actor="the sweep", found=(guards,), repair=(StepName.NAMESPACE,))
    with pytest.raises(WorkflowUpdateFailedError) as error:
        await life.handle.execute_update(UPDATE_DRIFT, ask)
    assert "is being changed to another template" in refusal_of(error.value).message
    assert (await life.status()).drift == ()
    await delete(life)


async def test_a_change_that_succeeds(house: CapacityBench) -> None:
    """Ensures that steps, record, capacity and search attributes have the new template, in a new run."""
    life = await ready(house, "grows")
    first = await life.handle.describe()
    answer = await change(house, life, MEDIUM)
    assert answer.kind is AnswerKind.ACCEPTED
    assert answer.message == "grows is being changed to medium version 7."
    status = await over(life)
    assert house.script.in_place == [(step, "medium") for step in TRIED]
    assert (status.environment.template, status.environment.spec.template) == (MEDIUM, "medium")
    assert (status.phase, status.change_problem) == (Phase.READY, None)
    assert [entry.action for entry in status.audit_log[-2:]] == [
        "asked to change it to medium version 7", "changed it to medium version 7",
    ]  # fmt: skip

    async def is_next_run() -> bool:
        return (await life.handle.describe()).run_id != first.run_id

    await until(is_next_run, "the next run began")
    now = await life.handle.describe()
    assert now.typed_search_attributes.get(search_attributes.TEMPLATE) == "medium"
    amount = size(MEDIUM)
    assert await now.memo_value(workflow_memo.SIZE) == [amount.cpu, amount.memory]
    held = (await house.held())["grows"]
    assert (held.template, held.size) == ("medium", amount)
    again = await change(house, life, MEDIUM)
    assert again == answer, "a repeat is answered, also by the next run"
    same = await change(house, life, MEDIUM, id="c2")
    assert same.kind is AnswerKind.NOTHING_TO_DO
    ended = await delete(life)
    assert ended.outcome is Outcome.DELETED
    assert not house.script.world
    await house.until_held()


async def test_a_change_for_which_there_is_no_room(house: CapacityBench) -> None:
    """Ensures that nothing is tried, and that the environment holds what it held."""
    life = await ready(house, "stays")
    for template, fields, reason in (
        (LARGE, {}, RefusalReason.NO_ROOM),
        (MEDIUM, {"quotas": Quotas(person=Limits(cpu=4000))}, RefusalReason.OVER_QUOTA),
        (MEDIUM, {"quotas": Quotas(template_person=Limits(environments=0))}, RefusalReason.OVER_QUOTA),
    ):
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await change(house, life, template, id=f"c-{reason}-{len(str(fields))}", **fields)
        assert refusal_of(refused.value).reason is reason
    assert not house.script.in_place
    held = (await house.held())["stays"]
    assert (held.template, held.size) == ("small", SIZE)
    # What becomes smaller needs no room, and a quota that was lowered meanwhile does not count.
    smaller = SMALL.model_copy(update={"size": SMALL.size.model_copy(update={"cpu": "500m"})})
    assert (await change(house, life, smaller, quotas=Quotas(person=Limits(cpu=1)))).kind == "accepted"
    await over(life)
    assert (await house.held())["stays"].size == size(smaller)
    await delete(life)


@pytest.mark.parametrize("step", TRIED)
async def test_a_change_that_fails_is_rolled_back(house: CapacityBench, step: str) -> None:
    """Ensures that the template of before is ensured again, and that the reason is kept."""
    life = await ready(house, f"back-{step}")
    name = f"{step}.ensure"

    async def fail_once() -> None:
        del house.script.before[name]
        await fails_for_good()()

    house.script.before[name] = fail_once
    await change(house, life, MEDIUM)
    status = await over(life)
    tried = TRIED[: TRIED.index(step) + 1]
    assert house.script.in_place == [(each, "medium") for each in tried] + [(each, "small") for each in TRIED]
    assert status.environment.template == SMALL
    assert status.change_problem is not None
    assert (status.change_problem.step, status.change_problem.cause) == (step, "Rafay: it is not allowed.")
    assert status.audit_log[-1].action == "went back to small version 1"
    held = (await house.held())[f"back-{step}"]
    assert (held.template, held.size) == ("small", SIZE)
    assert (await change(house, life, MEDIUM, id="c2")).kind is AnswerKind.ACCEPTED
    assert (await over(life)).environment.template == MEDIUM
    await delete(life)


async def test_both_sizes_are_held_while_it_goes_back(house: CapacityBench) -> None:
    """Ensures that a rollback is tried until it succeeds, that people see it, and that its room is kept."""
    life = await ready(house, "slowly")
    house.script.of_template = {"medium": fails_for_good(), "small": fails_for_good()}
    await change(house, life, MEDIUM)

    async def goes_back() -> bool:
        return house.script.in_place.count(("vcluster", "small")) >= 2

    await until(goes_back, "the rollback was tried again")
    status = await life.status()
    assert status.change is not None
    assert status.change.problem is not None
    assert (await house.held())["slowly"].size == SIZE.at_least(size(MEDIUM))
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await change(house, life, LARGE, id="c2")
    assert refusal_of(refused.value).reason is RefusalReason.NOT_NOW
    house.script.of_template = {}
    assert (await over(life)).environment.template == SMALL
    assert (await house.held())["slowly"].size == SIZE
    await delete(life)


async def test_a_late_answer_does_not_undo_the_rollback(house: CapacityBench) -> None:
    """Ensures that after an unclear failure, the old template is ensured again once nothing can come."""
    life = await ready(house, "unclear")
    house.script.of_template = {"medium": fails(10_000, in_doubt=True)}
    await change(house, life, MEDIUM)
    status = await over(life)
    assert house.script.in_place.count(("vcluster", "small")) == 2
    assert status.environment.template == SMALL
    await delete(life)


@pytest.mark.parametrize("how", ["delete", "cancel"])
async def test_an_end_in_the_middle_of_a_change(house: CapacityBench, how: str) -> None:
    """Ensures that the change is stopped first, and that nothing is left and nothing held."""
    life = await ready(house, f"ends-{how}")
    house.script.of_template = {"medium": waits}
    await change(house, life, MEDIUM)

    async def waits_there() -> bool:
        return ("vcluster", "medium") in house.script.in_place

    await until(waits_there, "the change waits")
    if how == "delete":
        status = await delete(life)
    else:
        await life.handle.cancel()
        status = await life.handle.result()
    assert status.outcome is Outcome.DELETED
    assert status.change is None
    assert status.environment.template == SMALL
    assert not house.script.world
    assert status.certificate is not None
    assert status.certificate.nothing_left
    assert house.script.in_place[-1] == ("vcluster", "medium"), "a rollback has started"
    await house.until_held()


async def test_no_change_before_it_is_ready(house: CapacityBench) -> None:
    house.script.before["vcluster.ensure"] = waits
    life = await house.begin("early")
    await house.script.started["vcluster.ensure"].wait()
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await change(house, life, MEDIUM)
    assert refusal_of(refused.value).message == "early is provisioning: it can be changed once it is ready."
    await delete(life)
