"""The history of a name, life by life: from the run in Temporal, and from the accounts of earlier lives."""

from datetime import datetime

from pydantic import ValidationError

from clients.jsonl_file import JsonLinesFile
from contracts.environment import Outcome, Phase, TrailEntry
from contracts.models import Frozen
from contracts.notifications import LifeRecord
from starter.environments.reader import EnvironmentSnapshot
from starter.environments.schemas import CertificateView, certificate_view


class LifeView(Frozen):
    """One life of a name. `ends_at` is its planned end, until it has ended."""

    life: str
    owner: str
    team: str
    template: str
    phase: Phase
    outcome: Outcome | None = None
    requested_at: datetime
    ends_at: datetime | None = None
    ended_at: datetime | None = None
    trail: tuple[TrailEntry, ...] = ()
    certificate: CertificateView | None = None
    remark: str = ""


class HistoryView(Frozen):
    """The lives of a name, latest first."""

    name: str
    lives: tuple[LifeView, ...]


async def records_of(file: JsonLinesFile | None, name: str) -> list[LifeRecord]:
    """Return the accounts of the name, oldest first, one per life; skip unreadable lines."""
    found: dict[str, LifeRecord] = {}
    for line in await file.find(f'"name":"{name}"') if file else ():
        try:
            account = LifeRecord.model_validate_json(line)
        except ValidationError:
            continue
        if account.name == name:
            found[account.life] = account
    return list(found.values())


def life_of_snapshot(standing: EnvironmentSnapshot) -> LifeView:
    """Build the view of a life whose run Temporal still has."""
    view = standing.view
    return LifeView(
        life=view.life,
        owner=view.owner,
        team=view.team,
        template=view.template,
        phase=view.phase,
        outcome=view.outcome,
        requested_at=view.requested_at,
        ends_at=None if view.ended else view.expires_at,
        ended_at=view.ended_at,
        trail=view.trail,
        certificate=view.certificate,
        remark=view.remark,
    )


def life_of_record(account: LifeRecord) -> LifeView:
    """Build the view of a life from its account, when Temporal has dropped its run."""
    return LifeView(
        life=account.life,
        owner=account.owner,
        team=account.team,
        template=account.template,
        phase=Phase.GONE,
        outcome=account.outcome,
        requested_at=account.requested_at,
        ended_at=account.ended_at,
        trail=account.trail,
        certificate=certificate_view(account.certificate) if account.certificate else None,
    )
