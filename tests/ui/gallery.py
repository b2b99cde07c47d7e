"""One stack with an environment in each state, made by requests and faults before the pages are looked at."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from contracts.environment.models import Phase
from contracts.templates.supported_charts import NEWEST_TESTED
from embedded.faults import Fault, FaultKind
from embedded.stack.stack import Part, Person, Stack
from starter.environments.schemas import EnvironmentView
from tests.api.caller import Caller, calling
from tests.support.fault_points import MAKING, UNMAKING, WAITING
from tests.support.leavers import report_left
from tests.support.stack import ALICE, BOB, CAROL, DAVE, HURRY, hurried
from tests.support.stand_ins import CHECKOUT, set_faults

#: The longest address of a person that fits into an identity provider's user name, and long names of teams.
LONG = Person(
    f"{'wilhelmina-constance.' * 3}b@research.example.com",
    teams=("platform-engineering-and-developer-experience", "blue"),
)
#: A developer who has asked for nothing and whose team has nothing.
NEWCOMER = Person("erin@example.com", teams=("grey",))
LONGEST_NAME = "a-name-that-has-thirty-letters"
#: What people type where it must not do harm: tags, quotes, and letters from right to left.
HOSTILE = """<script>alert(1)</script> "'><img src=x onerror=alert(2)> \u05e9\u05dc\u05d5\u05dd {{ 7 * 7 }}"""
LONG_ADDRESS = f"{'x' * 188}@example.com"

_TEMPLATE = """
version: 1
description: {description}
chart: {{version: {chart}}}
kubernetes: v1.36.0
size: {{cpu: "{cpu}", memory: 2Gi, storage: 2Gi, pods: 20}}
ttl: {{default: {ttl}, maximum: 4h, warnings: [2s]}}
quota: {{per_person: {quota}}}
"""


def _templates(folder: Path) -> Path:
    """Write the usual templates, and others: too large, one for each person, and over within seconds."""
    shutil.copytree(CHECKOUT / "starter" / "templates", folder)
    for name, cpu, ttl, quota, description in (
        ("full", "200000", "1h", 9, HOSTILE),
        ("single", "1", "1h", 1, "One for each person."),
        ("brief", "1", "12s", 9, "Lives for seconds."),
    ):
        text = _TEMPLATE.format(
            description=json.dumps(description), chart=NEWEST_TESTED, cpu=cpu, ttl=ttl, quota=quota
        )
        (folder / f"{name}.yaml").write_text(text)
    return folder


@asynccontextmanager
async def gallery(folder: Path) -> AsyncIterator[Stack]:
    """Run a stack that has an environment in each state. The environments' names are their states."""
    settings = {
        "MOORAGE_TEMPLATES": str(_templates(folder / "templates")),
        "MOORAGE_SWEEP__INTERVAL": "1s",
        "MOORAGE_SWEEP__JITTER": "1s",
        "MOORAGE_QUOTAS__TEAMS__GREY__CPU": "1",
    }
    options = hurried(
        people=(ALICE, BOB, CAROL, DAVE, LONG, NEWCOMER),
        environment=settings,
        # What is held up stays so, while all pages are looked at.
        timeouts=HURRY.model_copy(
            update={
                "step_timeout": timedelta(minutes=30),
                "undo_timeout": timedelta(seconds=5),
                "longest_retry": timedelta(seconds=20),
            }
        ),
    )
    async with Stack(folder / "stack", options) as stack:
        async with calling(stack, BOB.email) as bob, calling(stack, LONG.email) as long:
            await _make(stack, bob, long)
        yield stack


async def _make(stack: Stack, bob: Caller, long: Caller) -> None:
    async with asyncio.TaskGroup() as making:
        for name in ("ready", "access-pending", "tearing-down"):
            making.create_task(bob.ready(name, collaborators=[CAROL.email, DAVE.email]))
        making.create_task(bob.ready("deleted"))
        # It lives for seconds, so on a busy machine it may end before it is ready.
        making.create_task(bob.accepted("expired", template="brief"))
        making.create_task(bob.ready("only-one", template="single"))
        making.create_task(long.ready(LONGEST_NAME, team="platform-engineering-and-developer-experience"))
    left = await long.ready("left", team="blue")
    await report_left(stack, "left", left.life, LONG.email)
    await bob.until("left", lambda view: view.owner_left_at is not None and view.access is None)
    await bob.gone("deleted")
    set_faults(stack.url(Part.CONTROL_PLANE), _fault(MAKING["project"][1], status=403))
    await bob.ask("failed")
    await bob.until("failed", lambda view: view.ended)
    set_faults(stack.url(Part.CONTROL_PLANE))
    await bob.until("expired", lambda view: view.ended)

    # Each fault stays, and the next environment is held up by another one, earlier on its way.
    held = [_fault("agent.checkin", status=503)]
    set_faults(stack.url(Part.CONTROL_PLANE), *held)
    await bob.ask("imported")
    await bob.until("imported", lambda view: view.phase is Phase.USABLE and _has_progress(view, "import"))
    set_faults(stack.url(Part.HOST), _fault(WAITING["kubeconfig"][1], status=503))
    await bob.ask("waits")
    await bob.until("waits", lambda view: _has_progress(view, "kubeconfig"))
    held.append(_fault(MAKING["group"][1], status=503))
    set_faults(stack.url(Part.CONTROL_PLANE), *held)
    await bob.ask("retries")
    await bob.until("retries", lambda view: _has_progress(view, "group"))
    held.append(_fault(MAKING["project"][1], status=429, retry_after=500))
    set_faults(stack.url(Part.CONTROL_PLANE), *held)
    await bob.ask("throttled")
    await bob.until("throttled", lambda view: _has_progress(view, "project"))
    set_faults(
        stack.url(Part.DIRECTORY),
        _fault("group.patch", status=403),
        _fault(UNMAKING["identity"][1], status=500),
    )
    await bob.http.put("/environments/access-pending/collaborators/alice@example.com")
    await bob.until(
        "access-pending", lambda view: view.access is not None and view.access.problem is not None
    )
    await bob.http.delete("/environments/tearing-down")
    await bob.until("tearing-down", lambda view: view.phase is Phase.TEARING_DOWN)


def _fault(operation: str, *, status: int, retry_after: int | None = None) -> Fault:
    return Fault(operation=operation, kind=FaultKind.STATUS, status=status, retry_after=retry_after)


def _has_progress(view: EnvironmentView, step: str) -> bool:
    return any(row.progress is not None for row in view.steps if row.step == step)
