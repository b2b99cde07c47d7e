"""Ensures that hundreds of environments end as asked while everything around them fails.

Nothing of them is left, and no secret is found anywhere. `TEST_STORM` is how many; 300 without.
"""

import asyncio
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from clients.errors import ClientError
from clients.host.kubeconfig import Kubeconfig
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Stack
from tests.activities.notification_receivers import mail_server, webhook_receiver
from tests.cli.test_commands import cli_of
from tests.lifecycle.databases import Systems
from tests.lifecycle.environment_client import Asking
from tests.support.credentials import administrator_kubeconfig
from tests.support.deadline import HANG
from tests.support.fault_points import ONE_OF_EACH, STAND_INS, no_faults
from tests.support.histories import everything_known
from tests.support.leavers import People, sweep_leavers
from tests.support.secret_scan import (
    BRIEF,
    BRIEF_AND_WARM,
    MAIL_PASSWORD,
    PLANTED,
    Canaries,
    arguments_of_processes,
    every_secret,
    logs,
    open_files,
    temporal_files,
)
from tests.support.stack import ALICE, BOB, CAROL, DAVE, HURRY, client_of, hurried
from tests.support.stand_ins import set_faults
from tests.support.warm_pools import end_pool
from workflows.capacity.warm_pools import GIVEN_TIME

COUNT = int(os.environ.get("TEST_STORM", "300"))
#: So many are on their way at one time. Each worker that begins replays all of them: with more, it would do
#: little else until it is killed.
AT_ONCE = 60
#: Seconds between two looks at one environment, on the average: a hundred are looked at all the time.
LOOK = 3.0
WORKER_LIVES = 20.0
#: The whole storm: an environment takes seconds of work, and most calls of it are struck by something.
LONGEST = 1200.0
#: Of one answer. Of a hundred calls of each life some take longer on purpose: most of it waits for those.
TIMEOUT = timedelta(seconds=2)

WEATHER = (
    Fault(kind=FaultKind.STATUS, status=500, share=0.10),
    Fault(kind=FaultKind.STATUS, status=429, retry_after=1, share=0.05),
    Fault(kind=FaultKind.CUT_AFTER, share=0.05),
    Fault(kind=FaultKind.DELAY_AFTER, seconds=TIMEOUT.total_seconds() + 1, share=0.02),
)


class Storm:
    """The people in it, who ask until they are answered, and what they have seen."""

    def __init__(self, stack: Stack, asking: Asking) -> None:
        self._asking = asking
        self._stack = stack
        self._systems = Systems(stack)
        self._random = random.Random(4711)
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.canaries = Canaries(stack)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.answers: dict[str, str] = {}
        #: Sweeps for leavers that were answered, and how often one saw that Dave has left.
        self.sweeps = 0
        self.departed = 0

    async def environment(self, number: int) -> None:
        """One life: made and then deleted, or deleted or cancelled on its way."""
        name, how = f"storm-{number}", self._random.choice(("ready", "ready", "delete", "cancel"))
        pause = self._random.uniform(0, 8)
        async with self._gate:
            await self._request(name, ttl="1h")
            if how == "ready":
                await self._until(name, lambda shown: shown["phase"] in ("ready", "gone"))
                await self._look_closely(name)
                await self._change_people(name)
            else:
                await asyncio.sleep(pause)
            if how == "cancel":
                await self._until_answered("POST", f"/environments/{name}/cancel", key=f"c-{name}")
            await self._until_answered("DELETE", f"/environments/{name}", key=f"d-{name}")
            gone = await self._until(name, lambda shown: bool(shown["ended"]))
        # One that is to be cancelled may be ready before that: then it is deleted.
        self._end(name, gone, {"cancel": ("cancelled", "deleted")}.get(how, ("deleted",)))

    async def brief(self) -> None:
        """Run one life that no user ends: it is warned, and then expires."""
        await self._request("brief")
        self._end("brief", await self._until("brief", lambda shown: bool(shown["ended"])), ("expired",))

    async def _request(self, name: str, **more: str) -> None:
        body = {"name": name, "template": "small", **more}
        await self._until_answered("POST", "/environments", json=body, key=name)

    async def _change_people(self, name: str) -> None:
        """Add one and remove another while the storm blows: the delete that follows may overtake both."""
        path = f"/environments/{name}/collaborators"
        for method, person in (("PUT", DAVE), ("PUT", BOB), ("PUT", CAROL), ("DELETE", BOB)):
            await self._until_answered(method, f"{path}/{person.email}", key=f"{method}-{name}")
        await self._until_answered(
            "POST", f"/environments/{name}/transfer", key=f"t-{name}", json={"to": CAROL.email}
        )

    async def _look_closely(self, name: str) -> None:
        held = self._systems.holds(name)
        twice = {kind: held[kind] for kind in ONE_OF_EACH if held.get(kind, 0) > 1}
        if twice:
            self.wrong.append(f"{name} has twice: {twice}")
        self.canaries.learn_bootstrap_tokens()
        await self._until_answered("GET", f"/environments/{name}/kubeconfig", key=name)
        if kubeconfig := await self._administrator_kubeconfig(name):
            token = kubeconfig.current()[1]["token"]
            self.canaries.secrets[f"the token of {name}'s administrator"] = token

    async def _administrator_kubeconfig(self, name: str) -> Kubeconfig | None:
        """Read it from the host, whose answers the weather spoils as well."""
        ends = time.monotonic() + HANG
        while True:
            try:
                return await administrator_kubeconfig(self._stack, name)
            except ClientError:
                if time.monotonic() > ends:
                    raise
            await asyncio.sleep(0.2)

    def _end(self, name: str, gone: dict[str, object], wanted: tuple[str, ...]) -> None:
        self.outcomes[str(gone["outcome"])] += 1
        self.answers[f"what is shown of {name}"] = str(gone)
        if gone["outcome"] not in wanted:
            self.wrong.append(f"{name} is {gone['outcome']} and not {wanted}: {gone.get('problem')}")
        certificate = gone["certificate"]
        if not isinstance(certificate, dict) or not certificate["nothing_left"]:
            self.wrong.append(f"{name}: {certificate}")

    async def departures(self) -> None:
        """Dave leaves and returns again and again, and each time a sweep looks who has left."""
        people = People(self._stack)
        for leave in itertools.cycle((people.disable, people.delete)):
            await asyncio.to_thread(leave, DAVE.email)
            await self._sweep_leavers({DAVE.email})
            await asyncio.to_thread(people.restore, DAVE.email)
            await self._sweep_leavers(set())

    async def _sweep_leavers(self, away: set[str]) -> None:
        with suppress(httpx.TransportError):
            result = await sweep_leavers(self._asking)
            if result is None:
                return
            self.sweeps += 1
            self.departed += len(result["left"])
            if others := set(result["left"]) - away:
                self.wrong.append(f"{others} have lost their access and have not left")

    async def _until_answered(self, method: str, path: str, *, key: str, **more: object) -> httpx.Response:
        """Ask again, with the same key, until the API has an answer: it may be without Temporal or worker."""
        while True:
            try:
                answer = await self._asking.call(method, path, headers={"Idempotency-Key": key}, **more)
            except httpx.TransportError:
                answer = None
            if answer is not None:
                self.answers[f"{method} {path}: {answer.status_code}"] = answer.text
            if answer is not None and answer.status_code < 500:
                # 409: it is being torn down already, or has just become ready.
                accepted = (200, 202, 409, 422) if path.endswith(DAVE.email) else (200, 202, 409)
                if answer.status_code not in accepted:
                    self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
                return answer
            if answer is not None and answer.status_code != 503:
                self.wrong.append(f"{method} {path}: {answer.status_code} {answer.text}")
            await asyncio.sleep(1)

    async def _until(self, name: str, condition: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        while True:
            try:
                answer = await self._asking.call("GET", f"/environments/{name}")
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 200 and condition(answer.json()):
                shown: dict[str, object] = answer.json()
                return shown
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * LOOK)


async def _kill_workers(stack: Stack) -> None:
    while True:
        await asyncio.sleep(WORKER_LIVES)
        await stack.kill(Part.WORKER)
        await stack.start(Part.WORKER)


async def _restart_temporal(stack: Stack) -> None:
    for pause in (25, 40):
        await asyncio.sleep(pause)
        await stack.restart(Part.TEMPORAL)


@asynccontextmanager
async def _stack_with_all_secrets(folder: Path) -> AsyncIterator[Stack]:
    """A stack that tells its people by all ways, with everything logged that can be."""
    (templates := folder / "templates").mkdir()
    (templates / "small.yaml").write_text(BRIEF_AND_WARM)
    timeouts = HURRY.model_copy(
        update={
            "step_timeout": None,
            "give_up_after": timedelta(hours=1),
            "heartbeat_timeout": timedelta(seconds=4),
        }
    )
    with webhook_receiver() as receiver:
        async with mail_server(MAIL_PASSWORD) as mailbox:
            settings = {
                "MOORAGE_LOG__LEVEL": "debug",
                "MOORAGE_TEMPLATES": str(templates),
                "MOORAGE_SWEEP__INTERVAL": "2s",
                "MOORAGE_SWEEP__JITTER": "1s",
                "MOORAGE_SWEEP__LEAVERS_INTERVAL": "30d",
                "MOORAGE_SWEEP__LEAVERS_SECOND_LOOK": "1s",
                **every_secret(receiver, mailbox.port),
            }
            async with Stack(
                folder / "stack", hurried(timeouts=timeouts, timeout=TIMEOUT, environment=settings)
            ) as stack:
                yield stack
                assert receiver.got, "no notice came by webhook"
                assert mailbox.mails, "no notice came by mail"


async def _outlast(stack: Stack, storm: Storm) -> None:
    """Live all lives while the worker is killed and Temporal restarted again and again."""
    blows = [
        asyncio.create_task(_kill_workers(stack)),
        asyncio.create_task(_restart_temporal(stack)),
        asyncio.create_task(storm.departures()),
    ]
    lives = [asyncio.create_task(storm.environment(number)) for number in range(COUNT)]
    lives.append(asyncio.create_task(storm.brief()))
    _, unended = await asyncio.wait(lives, timeout=LONGEST)
    for task in (*blows, *unended):
        task.cancel()
    for blow in await asyncio.gather(*blows, return_exceptions=True):
        assert blow is None or isinstance(blow, asyncio.CancelledError), f"a part did not return: {blow!r}"
    assert not unended, (
        f"{storm.outcomes.total()} of {len(lives)} ended in {LONGEST:.0f} s: {storm.outcomes}, {storm.wrong}"
    )
    await asyncio.gather(*lives)


@pytest.mark.chaos
@pytest.mark.guarantee("5. Storm")
@pytest.mark.timeout(LONGEST + 240 + GIVEN_TIME.total_seconds())
async def test_all_end_as_asked_and_no_secret_is_anywhere(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    async with _stack_with_all_secrets(tmp_path) as stack, Asking(stack) as asking:
        for part in STAND_INS:
            set_faults(stack.url(part), *WEATHER)
        storm = Storm(stack, asking)
        await _outlast(stack, storm)
        record_property("environments", COUNT)
        record_property("ended", dict(storm.outcomes))
        record_property("per minute", round(COUNT / (time.monotonic() - began) * 60))
        no_faults(stack)
        await stack.restart(Part.WORKER)  # the blow that was broken off may have left none
        record_property("sweeps for leavers", storm.sweeps)
        record_property("departures seen", storm.departed)
        assert storm.wrong == []
        assert storm.outcomes.total() == COUNT + 1
        left = {
            name: held
            for name in (f"storm-{n}" for n in range(COUNT))
            if (held := Systems(stack).holds(name))
        }
        assert left == {}
        await end_pool(stack, tmp_path / "templates" / "small.yaml", BRIEF)
        assert Systems(stack).all() == {}, "something is there that bears no name of ours"
        await _search(stack, storm, tmp_path)
        record_property("secrets searched for", len(storm.canaries.secrets))


async def _search(stack: Stack, storm: Storm, tmp_path: Path) -> None:
    """Find none of the secrets that took part, anywhere, and find what is planted there."""
    canaries, client = storm.canaries, await client_of(stack)
    alice = cli_of(stack, tmp_path, ALICE.email)
    for command in (["show", "storm-0"], ["history", "storm-1"], ["list", "--ended"]):
        printed = await alice(*command)
        storm.answers[f"moorage {command[0]}"] = printed.out + printed.err
    histories = {"a history": await everything_known(client)}
    assert "undo: vCluster" in histories["a history"], "it is not decrypted"
    folder = {"temporal": temporal_files(stack), "logs": logs(stack), "open files": open_files(stack.folder)}
    arguments = arguments_of_processes(stack)
    for texts in (histories, storm.answers, arguments, *folder.values()):
        assert canaries.found(texts) == []
        assert canaries.found({**texts, "what was written": f"x{PLANTED}y"})
    assert "debug" in folder["logs"]["worker.log"].lower()

    await client.start_workflow("Unserved", {"a": f'"{PLANTED}"'}, id=PLANTED, task_queue="no-worker")
    planted = {"a history": await everything_known(client, f"WorkflowId = '{PLANTED}'")}
    assert canaries.found(planted), "a search of histories does not see what is there"
    assert canaries.found(temporal_files(stack)), (
        "a search of the database does not see what was just written"
    )
    with stack.log(Part.WORKER).open("a") as log:
        log.write(PLANTED)
    assert canaries.found(logs(stack)), "a search of the logs does not see what is there"
