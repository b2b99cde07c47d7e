"""Figures and trail of a stack: from the records, and from Temporal's runs as if no records were kept."""

from datetime import UTC, datetime, timedelta

import pytest

from contracts.phases import StepName
from embedded.stack.stack import Stack
from starter.audit_trail.entries import AuditVerb, TrailFilters
from starter.audit_trail.service import AuditTrail
from starter.auth.policy import Principal, Role
from starter.environments.life_archive import LifeRecords
from starter.environments.lists.cursors import Cursors
from starter.environments.lists.listing import EnvironmentList
from starter.environments.reader import EnvironmentReader
from starter.expiry.freeze import ExpiryFreeze
from starter.statistics.life_sources import ClosedRunSource, OpenEnvironments, RecordSource
from starter.statistics.service import Statistics
from tests.api.caller import Caller
from tests.support.deadline import HANG
from tests.support.stack import ALICE, BOB, client_of, unique
from worker.settings.groups.expiry import Sweep

pytestmark = pytest.mark.slow

OPS = Principal(person="Ops", email=ALICE.email, teams=(), role=Role.PLATFORM)


async def test_figures_and_trail_of_a_life_that_has_ended(stack: Stack, bob: Caller) -> None:
    """Ensures that both sources agree, and that the trail has open and ended environments."""
    name, other = unique(), unique()
    await bob.ready(name)
    await bob.ready(other)
    gone = await bob.gone(name)
    file = stack.folder / "audit-log.jsonl"
    client = await client_of(stack)
    reader = EnvironmentReader(client)
    found = {}
    for source in (RecordSource(file), ClosedRunSource(client, reader)):
        statistics = Statistics(source, OpenEnvironments(client))
        await statistics.refresh(HANG)
        figures = await statistics.figures(2)
        assert figures.lives
        assert figures.periods[-1].open
        usual = statistics.usual_times("small", "local")
        assert set(usual.steps) >= set(StepName) - {StepName.IDENTITY}
        assert usual.ready
        assert usual.usable
        assert usual.usable.median <= usual.ready.median
        found[type(source)] = statistics._known
        await statistics.stop()
    assert all(gone.life in lives for lives in found.values())
    assert (await ExpiryFreeze(client, Sweep()).schedule()).is_scheduled
    records = LifeRecords(client, file)
    environments = EnvironmentList(client, reader, records, Cursors([b"key"]))
    for trail in (AuditTrail(environments, reader, file), AuditTrail(environments, reader, None)):
        since = datetime.now(UTC) - timedelta(hours=1)
        page = await trail.search(OPS, TrailFilters(person=BOB.email, since=since), 500)
        lines = {(entry.name, entry.verb) for entry in page.entries}
        assert {(name, AuditVerb.REQUEST), (name, AuditVerb.DELETE), (other, AuditVerb.REQUEST)} <= lines
        [line] = [
            one
            for one in (await trail.search(OPS, TrailFilters(name=name), 500)).entries
            if one.verb is AuditVerb.GONE
        ]
        assert (line.life, line.owner, line.team) == (gone.life, BOB.email, "blue")
    await bob.gone(other)
