"""Activities that follow a script, for what no outside system can be made to do on cue.

They implement the contracts' signatures, keep a pretended world (which steps are there), and record every
call in order.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.errors import translate
from activities.task_queues import OtherQueue, ensure_right_queue
from contracts.activities.cluster_import import (
    IMPORT_BOOTSTRAP,
    IMPORT_KEY,
    IMPORT_REGISTER,
    BootstrapInput,
    BootstrapKey,
    RegisterInput,
    SealedBootstrap,
)
from contracts.activities.host import QueuesInput, QueuesResult
from contracts.activities.notices import AuditLogResult, NotificationResult
from contracts.activities.people import AccessInput, AccessResult, CheckPeopleInput
from contracts.activities.steps import (
    EnsureInput,
    InspectInput,
    InspectResult,
    MemberRepair,
    RemoveInput,
    RemoveResult,
)
from contracts.activities.vcluster import RestoreSnapshotInput, SettlePeopleInput, SleepInput, SnapshotInput
from contracts.capacity.models import PlacementDecision, ReservationRequest, ResizeInput
from contracts.environment.models import Environment, Receipt, StepName, System
from contracts.errors import ErrorType, StepErrorDetails
from contracts.host_requests import HostAnswer, HostRequest
from contracts.notifications import LifeRecord, Notification
from contracts.standby import STANDBY_OFFER, STANDBY_WITHDRAW, StandbyInput, WithdrawResult
from contracts.temporal.task_queues import OwnQueues
from contracts.types.naming import OwnerMark
from workflows.steps import STEPS

_SYSTEMS = {step.name: step.system for step in STEPS}

Outcome = Callable[[], Awaitable[None]]


@dataclass
class Script:
    """The scripted outcomes in place of plain success, and a record of what happened.

    `before` and `after` map an activity's name to what it does before or after its effect on `world`.
    """

    before: dict[str, Outcome] = field(default_factory=dict)
    after: dict[str, Outcome] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    forced: dict[str, bool] = field(default_factory=dict)
    #: The template by which each step was undone.
    removed_with: dict[str, str] = field(default_factory=dict)
    life_started_at: list[datetime | None] = field(default_factory=list)
    notices: list[Notification] = field(default_factory=list)
    accounts: list[LifeRecord] = field(default_factory=list)
    ended_by_force: dict[str, tuple[str, ...]] = field(default_factory=dict)
    world: set[str] = field(default_factory=set)
    #: Who has access in the two systems, as the calls to change it had their effects.
    members: set[str] = field(default_factory=set)
    inside: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    #: Whether its vCluster is paused, and what the capacity workflow answers to who wants to wake it.
    is_paused: bool = False
    decision: PlacementDecision = field(default_factory=lambda: PlacementDecision(host="one"))
    #: The numbers of the snapshots that were taken.
    snapshots: list[int] = field(default_factory=list)
    #: The snapshots that were restored, each with its attempt; and whom a restore has left access.
    restored: list[tuple[int, str]] = field(default_factory=list)
    settled: list[tuple[str, ...]] = field(default_factory=list)
    #: What steps give back as names and notes, if anything; and what inspections give as kept.
    says: str = ""
    lines: tuple[str, ...] = ()
    #: Which systems have task queues by the settings of the workers, and in which queues each activity ran.
    own_queues: tuple[System, ...] = ()
    queues: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    #: The template of each ensure in place, and what a template's vCluster does instead of becoming ready.
    #: The environments that have taken standbys over, by the names of these.
    takers: dict[str, OwnerMark] = field(default_factory=dict)
    in_place: list[tuple[str, str]] = field(default_factory=list)
    #: What was repaired of the members of a step's group.
    member_repairs: list[tuple[str, MemberRepair]] = field(default_factory=list)
    of_template: dict[str, Outcome] = field(default_factory=dict)
    started: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def activities(self) -> list[Callable[..., Any]]:
        """All activities of the contracts, following this script."""
        return [
            self._people(),
            self._notice(),
            self._trail(),
            self._sleep("sleep.pause", is_asleep=True),
            self._sleep("sleep.resume", is_asleep=False),
            self._snapshot(),
            self._restore(),
            self._settle(),
            self._wake_admission(),
            self._resize_admission(),
            self._access("access.group", self.members, lambda environment: environment.people_system),
            self._access("access.virtual-cluster", self.inside, lambda _: System.HOST_CLUSTER),
            *self._bootstrap(),
            self._own_queues(),
            self._host_answer(),
            *self._standby(),
            *(make(step) for step in StepName for make in (self._ensure, self._remove, self._inspect)),
        ]

    def undone(self) -> list[str]:
        """The steps whose remove was called, in order, each once."""
        return list(dict.fromkeys(call.split(".")[0] for call in self.calls if call.endswith(".remove")))

    async def _play(self, name: str, effect: Callable[[], None], *, is_step: bool = True) -> None:
        if is_step:
            self.calls.append(name)
        self.started[name].set()
        if name in self.before:
            await self.before[name]()
        effect()
        if name in self.after:
            await self.after[name]()

    async def _play_in(
        self, environment: Environment, system: System, name: str, effect: Callable[[], None]
    ) -> None:
        """As `_play`, unless the system has a task queue and this is another one."""
        own = OwnQueues(
            hosts=frozenset({environment.host} if System.HOST_CLUSTER in self.own_queues else ()),
            systems=frozenset(self.own_queues) - {System.HOST_CLUSTER},
        )
        try:
            ensure_right_queue(own, environment, [system])
        except OtherQueue as error:
            raise translate(error, is_retry=activity.info().attempt > 1) from None
        self.queues[name].append(activity.info().task_queue)
        await self._play(name, effect)

    def _bootstrap(self) -> list[Callable[..., Any]]:
        @activity.defn(name=IMPORT_KEY)
        async def key(input: EnsureInput) -> BootstrapKey:
            await self._play_in(input.environment, System.HOST_CLUSTER, IMPORT_KEY, lambda: None)
            return BootstrapKey(public_key="key")

        @activity.defn(name=IMPORT_REGISTER)
        async def register(input: RegisterInput) -> SealedBootstrap:
            def effect() -> None:
                self.world.add(StepName.IMPORT)

            await self._play_in(input.environment, System.CONTROL_PLANE, IMPORT_REGISTER, effect)
            return SealedBootstrap(sealed=f"for {input.public_key}")

        @activity.defn(name=IMPORT_BOOTSTRAP)
        async def bootstrap(input: BootstrapInput) -> None:
            assert input.sealed == "for key"
            await self._play_in(input.environment, System.HOST_CLUSTER, IMPORT_BOOTSTRAP, lambda: None)

        return [key, register, bootstrap]

    def _own_queues(self) -> Callable[..., Any]:
        @activity.defn(name="queues.read")
        async def read(input: QueuesInput) -> QueuesResult:
            assert input.host
            return QueuesResult(own_queues=self.own_queues)

        return read

    def _host_answer(self) -> Callable[..., Any]:
        @activity.defn(name="host.answer")
        async def answer(input: HostRequest) -> HostAnswer:
            await self._play("host.answer", lambda: None, is_step=False)
            return HostAnswer(certificate=f"for {input.person}")

        return answer

    def _standby(self) -> list[Callable[..., Any]]:
        @activity.defn(name=STANDBY_OFFER)
        async def offer(input: StandbyInput) -> None:
            await self._play_in(input.environment, System.HOST_CLUSTER, STANDBY_OFFER, lambda: None)

        @activity.defn(name=STANDBY_WITHDRAW)
        async def withdraw(input: StandbyInput) -> WithdrawResult:
            await self._play_in(input.environment, System.HOST_CLUSTER, STANDBY_WITHDRAW, lambda: None)
            return WithdrawResult(taken_by=self.takers.get(input.environment.name))

        return [offer, withdraw]

    def _people(self) -> Callable[..., Any]:
        @activity.defn(name="people.check")
        async def check(input: CheckPeopleInput) -> None:
            environment = input.environment
            await self._play_in(environment, environment.people_system, "people.check", lambda: None)

        return check

    def _notice(self) -> Callable[..., Any]:
        @activity.defn(name="notification.send")
        async def send(input: Notification) -> NotificationResult:
            self.notices.append(input)
            await self._play("notification.send", lambda: None, is_step=False)
            return NotificationResult(delivered_by=("script",))

        return send

    def _trail(self) -> Callable[..., Any]:
        @activity.defn(name="audit_log.write")
        async def keep(input: LifeRecord) -> AuditLogResult:
            await self._play("audit_log.write", lambda: self.accounts.append(input), is_step=False)
            return AuditLogResult()

        return keep

    def _access(
        self, name: str, people: set[str], system_of: Callable[[Environment], System]
    ) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def change(input: AccessInput) -> AccessResult:
            def effect() -> None:
                people.difference_update(input.revoking)
                people.update(set(input.granting) - self.unknown)

            await self._play_in(input.environment, system_of(input.environment), name, effect)
            unknown = tuple(one for one in input.granting if one in self.unknown)
            return AccessResult(unknown=unknown, in_doubt=activity.info().attempt > 1)

        return change

    def _sleep(self, name: str, *, is_asleep: bool) -> Callable[..., Any]:
        @activity.defn(name=name)
        async def change(input: SleepInput) -> None:
            def effect() -> None:
                self.is_paused = is_asleep

            await self._play_in(input.environment, System.HOST_CLUSTER, name, effect)

        return change

    def _snapshot(self) -> Callable[..., Any]:
        @activity.defn(name="snapshot.take")
        async def take(input: SnapshotInput) -> None:
            def effect() -> None:
                self.snapshots.append(input.number)

            await self._play_in(input.environment, System.HOST_CLUSTER, "snapshot.take", effect)

        return take

    def _restore(self) -> Callable[..., Any]:
        @activity.defn(name="snapshot.restore")
        async def restore(input: RestoreSnapshotInput) -> None:
            def effect() -> None:
                assert self.is_paused, "it restores into a vCluster that runs"
                self.restored.append((input.number, input.attempt))

            await self._play_in(input.environment, System.HOST_CLUSTER, "snapshot.restore", effect)

        return restore

    def _settle(self) -> Callable[..., Any]:
        @activity.defn(name="snapshot.settle")
        async def settle(input: SettlePeopleInput) -> None:
            def effect() -> None:
                self.settled.append(input.people)

            await self._play_in(input.environment, System.HOST_CLUSTER, "snapshot.settle", effect)

        return settle

    def _wake_admission(self) -> Callable[..., Any]:
        @activity.defn(name="capacity.wake")
        async def admit(input: ReservationRequest) -> PlacementDecision:
            await self._play("capacity.wake", lambda: None)
            return self.decision

        return admit

    def _resize_admission(self) -> Callable[..., Any]:
        @activity.defn(name="capacity.resize")
        async def resize(input: ResizeInput) -> PlacementDecision:
            await self._play("capacity.resize", lambda: None)
            return self.decision

        return resize

    def _ensure(self, step: StepName) -> Callable[..., Any]:
        @activity.defn(name=f"{step}.ensure")
        async def ensure(input: EnsureInput) -> Receipt:
            # The kubeconfig has nothing to undo in any system.
            effect = (lambda: None) if step is StepName.KUBECONFIG else (lambda: self.world.add(step))
            template = input.environment.template.name
            if input.in_place:
                self.in_place.append((step, template))
            if input.members:
                self.member_repairs.append((step, input.members))
            await self._play_in(input.environment, _SYSTEMS[step], f"{step}.ensure", effect)
            if step is StepName.VCLUSTER and template in self.of_template:
                await self.of_template[template]()
            return Receipt(
                name=self.says or input.environment.derived_name, in_doubt=activity.info().attempt > 1
            )

        return ensure

    def _remove(self, step: StepName) -> Callable[..., Any]:
        @activity.defn(name=f"{step}.remove")
        async def remove(input: RemoveInput) -> RemoveResult:
            self.forced[step] = input.force
            self.removed_with[step] = input.environment.template.name
            self.life_started_at.append(input.life_started_at)
            await self._play_in(
                input.environment, _SYSTEMS[step], f"{step}.remove", lambda: self.world.discard(step)
            )
            return RemoveResult(note=self.says, forced=self.ended_by_force.pop(step, ()))

        return remove

    def _inspect(self, step: StepName) -> Callable[..., Any]:
        @activity.defn(name=f"{step}.inspect")
        async def inspect(input: InspectInput) -> InspectResult:
            self.life_started_at.append(input.life_started_at)
            await self._play_in(input.environment, _SYSTEMS[step], f"{step}.inspect", lambda: None)
            left = (f"{step} {input.environment.name}",) if step in self.world else ()
            return InspectResult(left=left, kept=self.lines)

        return inspect


def fails_for_good(error: ErrorType = ErrorType.ACCESS_DENIED) -> Outcome:
    """A deed that always fails, permanently and without doubt."""

    async def fail() -> None:
        details = StepErrorDetails(system="Rafay", remedy="Give the key the right.", in_doubt=False)
        raise ApplicationError("Rafay: it is not allowed.", details, type=error, non_retryable=True)

    return fail


def fails_first(script: Script, name: str) -> Outcome:
    """A deed before `name` that fails permanently the first time, so that only a later pass succeeds."""

    async def fail() -> None:
        del script.before[name]
        await fails_for_good()()

    return fail


def fails(times: int, *, in_doubt: bool = False) -> Outcome:
    """A deed that fails the first `times` times, worth trying again."""
    left = times

    async def fail() -> None:
        nonlocal left
        if left > 0:
            left -= 1
            details = StepErrorDetails(system="Rafay", remedy="Wait.", in_doubt=in_doubt)
            raise ApplicationError("Rafay: 503.", details, type=ErrorType.UNAVAILABLE)

    return fail


def waits_for(event: asyncio.Event) -> Outcome:
    """A deed that waits, heartbeating, until it is cancelled or `event` is set."""

    async def deed() -> None:
        while not event.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.05)

    return deed


#: A deed that waits, heartbeating, until it is cancelled.
waits = waits_for(asyncio.Event())


def deaf(seconds: float, until: asyncio.Event | None = None) -> Outcome:
    """A deed that takes `seconds`, or less once `until` is set, and does not listen to cancellation."""

    async def work() -> None:
        ends = asyncio.get_running_loop().time() + seconds
        while (left := ends - asyncio.get_running_loop().time()) > 0 and not (until and until.is_set()):
            activity.heartbeat()
            try:
                await asyncio.sleep(min(left, 0.1))
            except asyncio.CancelledError:
                continue

    return work
