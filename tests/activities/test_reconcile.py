"""Ensures that the reconcile sweep finds what bears our marks, and nothing of others, in every system."""

import base64
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import WorkflowExecutionStatus as Status

from activities.reconcile.drift import GuardLook, deviations_of
from activities.reconcile.inventory import MarkedSystems
from activities.reconcile.namespace_guards import GuardReader
from activities.reconcile.runs import latest_run
from activities.standby_offer import StandbyOffer
from activities.steps.namespace import NamespaceStep
from clients.errors import ClientError
from clients.host.models import Namespace
from contracts.activities.steps import EnsureInput
from contracts.environment.models import Environment, StepName
from contracts.reconcile.models import Verdict
from contracts.reconcile.orphan_rules import LatestRun, RunKind, judge
from contracts.reconcile.recovery_mark import LifeMark
from contracts.recovery_starts import done_steps
from contracts.standby import StandbyInput
from contracts.temporal import search_attributes
from contracts.types.naming import ANNOTATION_LIFE, ANNOTATION_LIFE_SIGNATURE, OwnerMark
from embedded.faults import Fault, FaultKind
from tests.activities.activity_runs import LIFE_START, Running
from tests.activities.conftest import INSTALLATION, OTHER_INSTALLATION, Bench, an_environment, fresh
from worker.codec import EncryptionCodec, Keyring

pytestmark = pytest.mark.slow

ENVIRONMENT = an_environment("demo")
KEYS, OTHER_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def marked(bench: Bench) -> MarkedSystems:
    clients = bench.clients
    return MarkedSystems(INSTALLATION, "moor", clients.rafay, clients.directory, clients.hosts)


async def make_with_life_mark(bench: Bench, environment: Environment) -> None:
    """Do all steps as the workflow has them done."""
    for step in StepName:
        if step is StepName.IDENTITY and not environment.has_identity_provider:
            continue
        input = EnsureInput(environment=environment, request_id="request-1", requested_at=LIFE_START)
        await Running(bench.steps[step].ensure, input).result()


async def test_a_complete_environment_is_found_with_what_continues_its_life(
    bench: Bench, marked: MarkedSystems, environment: Environment
) -> None:
    await make_with_life_mark(bench, environment)
    assert environment.mark in (await marked.list_all()).marks
    found = await marked.examine(environment.mark)
    assert found.is_complete
    assert found.host == environment.host
    assert found.life_mark == LifeMark(
        request_id="request-1", environment=environment, requested_at=LIFE_START
    )
    assert len(found.things) == 6


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"owner": "eve@example.com"},
        {"host": "two"},
        {"prefix": "other"},
        {"template": ENVIRONMENT.template.model_copy(update={"role": "ADMIN"})},
    ],
    ids=["as signed", "owner", "host", "prefix", "role"],
)
@pytest.mark.parametrize("signed_with", ["ours", "other", "none"])
def test_a_life_mark_counts_only_as_moorage_has_written_it_for_this_host(
    change: dict[str, Any], signed_with: str
) -> None:
    """Ensures that who can annotate a namespace cannot have an environment handed to another person."""
    signer = EncryptionCodec(Keyring.parse(KEYS))
    other = EncryptionCodec(Keyring.parse(OTHER_KEY))
    mark = LifeMark(request_id="request-1", environment=ENVIRONMENT, requested_at=LIFE_START)
    forged = mark.model_copy(update={"environment": ENVIRONMENT.model_copy(update=change)})
    signatures = {"ours": signer.sign_life(mark.text), "other": other.sign_life(forged.text), "none": ""}
    annotations = {ANNOTATION_LIFE: forged.text, ANNOTATION_LIFE_SIGNATURE: signatures[signed_with]}
    namespace = Namespace(name=ENVIRONMENT.derived_name, uid="1", labels={}, annotations=annotations)
    systems = MarkedSystems(INSTALLATION, "moor", cast("Any", None), None, {}, signer=signer)
    is_believed = not change and signed_with == "ours"
    assert systems.life_mark_of(namespace, ENVIRONMENT.mark, "one") == (mark if is_believed else None)
    assert systems.life_mark_of(namespace, ENVIRONMENT.mark, "two") is None
    # Without keys, no payload is authenticated either; the place counts all the same.
    unsigned = replace(systems, signer=None).life_mark_of(namespace, ENVIRONMENT.mark, "one")
    assert (unsigned is None) is bool({"host", "prefix"} & change.keys())


async def test_the_namespace_step_signs_the_life_mark(bench: Bench, environment: Environment) -> None:
    signer = EncryptionCodec(Keyring.parse(KEYS))
    input = EnsureInput(environment=environment, request_id="request-1", requested_at=LIFE_START)
    await Running(NamespaceStep(bench.clients.hosts, signer).ensure, input).result()
    namespace = await bench.clients.hosts[environment.host].get_namespace(environment.derived_name)
    assert namespace
    text, signature = (namespace.annotations[key] for key in (ANNOTATION_LIFE, ANNOTATION_LIFE_SIGNATURE))
    assert signer.has_signed_life(text, signature)
    # Also by a process that encrypts with a newer key.
    assert EncryptionCodec(Keyring.parse(f"{OTHER_KEY} {KEYS}")).has_signed_life(text, signature)


async def test_a_second_host_with_the_mark_is_noticed(
    bench: Bench, marked: MarkedSystems, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    host = bench.clients.hosts[environment.host]
    twice = replace(marked, hosts={"one": host, "two": host})
    assert not (await marked.examine(environment.mark)).is_on_several_hosts
    assert (await twice.examine(environment.mark)).is_on_several_hosts


@pytest.mark.parametrize("step", StepName)
async def test_what_is_made_halfway_is_found_and_incomplete(
    bench: Bench, marked: MarkedSystems, environment: Environment, step: StepName
) -> None:
    await bench.make(environment, before=step)
    found = await marked.examine(environment.mark)
    assert not found.is_complete
    is_listed = environment.mark in (await marked.list_all()).marks
    assert is_listed is (step is not StepName.PROJECT)
    assert bool(found.things) is is_listed


@pytest.mark.parametrize(
    ("life", "installation"), [("request-2", INSTALLATION), ("request-1", OTHER_INSTALLATION)]
)
async def test_what_belongs_to_others_is_not_found(
    bench: Bench, marked: MarkedSystems, life: str, installation: str
) -> None:
    name = fresh()
    theirs = an_environment(name, life=life, installation=installation)
    ours = an_environment(name)
    await bench.make(theirs, before=StepName.VCLUSTER)
    inventory = await marked.list_all()
    assert ours.mark not in inventory.marks
    assert (theirs.mark in inventory.marks) is (installation == INSTALLATION)
    assert (await marked.examine(ours.mark)).things == ()


async def test_a_group_alone_in_the_directory_is_found(
    bench: Bench, marked: MarkedSystems, environment: Environment
) -> None:
    assert bench.clients.directory
    await bench.clients.directory.create_group(environment.derived_name, environment.mark.text)
    assert environment.mark in (await marked.list_all()).marks
    assert not (await marked.examine(environment.mark)).is_complete


async def test_a_mark_on_something_of_another_name_is_not_followed(
    bench: Bench, marked: MarkedSystems, environment: Environment
) -> None:
    await bench.clients.rafay.create_group(f"moor-{fresh()}", environment.mark.text)
    assert environment.mark not in (await marked.list_all()).marks


@pytest.mark.parametrize(
    ("operation", "system"),
    [
        ("project.list", "control plane"),
        ("group.find", "identity provider"),
        ("namespace.list", "host one"),
    ],
)
@pytest.mark.parametrize(
    "fault", [{"kind": FaultKind.STATUS, "status": 503}, {"kind": FaultKind.CUT_BEFORE}], ids=["503", "cut"]
)
async def test_a_system_that_does_not_answer_is_skipped_and_the_others_are_read(
    bench: Bench, marked: MarkedSystems, environment: Environment, operation: str, system: str, fault: Any
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    bench.systems.faults(Fault(operation=operation, **fault))
    inventory = await marked.list_all()
    assert any(text.startswith(f"{system}:") for text in inventory.skipped), inventory.skipped
    assert [one.label for one in inventory.systems if one.skipped] == [system]
    assert environment.mark in inventory.marks
    bench.systems.faults(Fault(operation=operation.replace("namespace.list", "namespace.get"), **fault))
    with pytest.raises(ClientError):
        await marked.examine(environment.mark)


async def test_a_system_that_is_not_configured_is_not_read(
    bench: Bench, marked: MarkedSystems, environment: Environment
) -> None:
    await bench.make(environment, before=StepName.VCLUSTER)
    found = await replace(marked, directory=None).examine(environment.mark)
    assert not any("identity provider" in thing for thing in found.things)


@pytest.mark.parametrize(
    ("host", "seen_on", "elsewhere", "reason"),
    [
        ("one", "", (), ""),
        ("", "", (), ""),
        ("one", "", ("eu",), ""),
        ("gone", "", ("eu",), "its host gone is not in the settings"),
        ("eu", "", ("eu",), "only its own worker reaches host eu"),
        ("", "", ("us", "eu"), "only its own worker reaches host eu, us"),
        ("one", "one", ("eu",), ""),
        ("", "one", (), ""),
        ("", "one", ("eu",), "only its own worker reaches host eu"),
        ("eu", "one", ("eu",), "it was made on host eu, and host one has a namespace with its mark"),
        ("gone", "one", (), "it was made on host gone, and host one has a namespace with its mark"),
    ],
)
def test_what_is_on_a_host_that_is_not_seen_is_known_as_such(
    host: str, seen_on: str, elsewhere: tuple[str, ...], reason: str
) -> None:
    """Ensures that no part of an environment is undone because the rest of it cannot be seen."""
    hosts: Any = {"one": None}
    systems = MarkedSystems("i", "moor", hosts["one"], None, hosts, frozenset(elsewhere))
    assert systems.why_unseen(host, seen_on) == reason


@pytest.mark.parametrize(
    ("status", "request_id", "kind"),
    [
        (Status.RUNNING, "request-1", RunKind.OWNER),
        (Status.RUNNING, "", RunKind.OWNER),
        (Status.RUNNING, "request-2", RunKind.OTHER_OPEN),
        (Status.TERMINATED, "request-1", RunKind.LOST),
        (Status.TIMED_OUT, "request-1", RunKind.LOST),
        (Status.COMPLETED, "request-1", RunKind.ENDED),
        (Status.FAILED, "request-1", RunKind.ENDED),
        (Status.COMPLETED, "request-2", RunKind.OTHER_CLOSED),
        (Status.COMPLETED, "", RunKind.OTHER_CLOSED),
        (Status.TERMINATED, "", RunKind.OTHER_CLOSED),
    ],
)
async def test_a_run_that_cannot_be_read_owns_a_life_while_it_is_open_and_says_nothing_once_it_is_closed(
    status: Status, request_id: str, kind: RunKind
) -> None:
    async def memo_value(*_: object, **__: object) -> str:
        return request_id

    run = SimpleNamespace(
        status=status,
        memo_value=memo_value,
        run_id="r",
        start_time=LIFE_START,
        typed_search_attributes={search_attributes.HOST: "eu"},
    )
    mark = OwnerMark.for_request(INSTALLATION, "demo", "request-1")
    found = await latest_run(cast("Any", run), mark)
    assert found.kind is kind
    # Another life of the name was perhaps elsewhere.
    assert found.host == ("eu" if kind in (RunKind.LOST, RunKind.ENDED) else "")
    assert (await latest_run(None, mark)).kind is RunKind.MISSING


async def a_taken_over(bench: Bench) -> tuple[Environment, Environment]:
    """A standby, and the complete environment that has taken it over."""
    standby = an_environment(f"standby-{fresh()}", owner="", collaborators=(), identity=False)
    standby = standby.model_copy(update={"is_standby": True})
    for step in (StepName.NAMESPACE, StepName.VCLUSTER, StepName.KUBECONFIG):
        input = EnsureInput(environment=standby, request_id="request-1", requested_at=LIFE_START)
        await Running(bench.steps[step].ensure, input).result()
    offered = StandbyInput(environment=standby)
    await Running(StandbyOffer(bench.clients.hosts).offer, offered).result()
    environment = an_environment(fresh()).model_copy(update={"standby": standby.mark})
    await make_with_life_mark(bench, environment)
    return standby, environment


async def test_an_environment_with_a_standby_is_found_whole_and_not_altered(
    bench: Bench, marked: MarkedSystems
) -> None:
    standby, environment = await a_taken_over(bench)
    marks = (await marked.list_all()).marks
    assert environment.mark in marks
    assert standby.mark not in marks
    found = await marked.examine(environment.mark)
    assert found.is_complete
    assert len(found.things) == 6
    assert f"namespace {environment.host_name} on host one" in found.things
    look = GuardLook(GuardReader(), environment.template.name, lambda: _of(environment))
    assert await deviations_of(marked, environment.mark, "one", guards=look) == ()
    assert (await marked.examine(standby.mark)).things == ()


async def _of(environment: Environment) -> Environment:
    return environment


async def test_a_namespace_of_another_standby_with_its_marks_is_not_its_own(
    bench: Bench, marked: MarkedSystems
) -> None:
    """Ensures that who copies marks into a namespace of a standby's name gets nothing of an environment."""
    environment = an_environment(fresh())
    await make_with_life_mark(bench, environment)
    host = bench.clients.hosts["one"]
    there = await host.get_namespace(environment.derived_name)
    assert there
    copy = f"moor-standby-{fresh()}"
    await host.create_namespace(copy, there.labels, there.annotations)
    found = await marked.examine(environment.mark)
    assert not found.is_on_several_hosts
    assert not any(copy in thing for thing in found.things)


async def test_what_a_standby_has_left_without_its_workflow_is_undone(
    bench: Bench, marked: MarkedSystems
) -> None:
    standby = an_environment(f"standby-{fresh()}", owner="", collaborators=(), identity=False)
    standby = standby.model_copy(update={"is_standby": True})
    for step in (StepName.NAMESPACE, StepName.VCLUSTER):
        input = EnsureInput(environment=standby, request_id="request-1", requested_at=LIFE_START)
        await Running(bench.steps[step].ensure, input).result()
    assert standby.mark in (await marked.list_all()).marks
    found = await marked.examine(standby.mark)
    for kind in (RunKind.MISSING, RunKind.LOST):
        assert judge(found, LatestRun(kind)).verdict is Verdict.UNDO
    assert [step.step for step in done_steps(standby, "")] == [
        StepName.NAMESPACE,
        StepName.VCLUSTER,
        StepName.KUBECONFIG,
    ]
