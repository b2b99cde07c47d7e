"""Plans the forced teardown of a life that Temporal has forgotten: from marks, its record, and the caller.

Only the mark decides what is removed. Owner, team and template are for people, and are "unknown" without a
record.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from contracts.environment.models import Environment, Spec
from contracts.environment_workflow import EnvironmentStart
from contracts.notifications import LifeRecord
from contracts.recovery_starts import UNKNOWN, UNKNOWN_TTL, stand_in_template
from contracts.types.naming import LIFE_PATTERN, OwnerMark
from starter.environments.teardown.leftover_search import FoundMarks, Marked
from starter.installation_settings import InstallationConfig
from starter.request_errors import FieldProblem, InvalidRequest


@dataclass(frozen=True)
class ForgottenLife:
    """A life that Temporal knows nothing of. `before` is a start like that of its lost run."""

    before: EnvironmentStart
    requested_at: datetime
    message: str


class CannotPlan(Exception):
    """The life or its host cannot be found out; the text says what to name."""


def plan_without_run(
    name: str,
    marks: FoundMarks,
    records: Sequence[LifeRecord],
    installation: InstallationConfig,
    *,
    life: str | None,
    host: str | None,
    now: datetime,
) -> ForgottenLife:
    """Plan the teardown of a life of which only marks, its record, or what the caller names are left.

    Raises:
        InvalidRequest: `life` does not have the form of a life.
        CannotPlan: There is no life, there are several, or the host is unknown.
    """
    life = life or _only_life(name, marks)
    if not re.fullmatch(LIFE_PATTERN, life):
        message = f'"{life[:40]}" is no life: it is 20 hexadecimal digits, the last part of an owner mark'
        raise InvalidRequest([FieldProblem(field="life", message=message)])
    record = next((one for one in reversed(records) if one.life == life), None)
    marked = marks.lives.get(life, ())
    host = _host_of(marked, record, installation, host)
    # Older volumes than the life are not its own. Its namespace is older than its volumes.
    born = [one.made_at for one in marked if one.made_at and one.host == host]
    requested_at = min([*born, *([record.requested_at] if record else [])], default=now)
    environment = Environment(
        mark=OwnerMark(installation=installation.installation, name=name, life=life),
        prefix=installation.prefix,
        owner=record.owner if record else UNKNOWN,
        spec=Spec(
            template=record.template if record else UNKNOWN,
            team=record.team if record else UNKNOWN,
            collaborators=record.collaborators if record else (),
            labels=record.labels if record else {},
        ),
        template=stand_in_template(record.template if record else UNKNOWN),
        ttl=UNKNOWN_TTL,
        host=host,
        has_identity_provider=installation.has_identity_provider,
        own_queues=installation.own_queues.of(host),
    )
    what = ", ".join(one.what for one in marked) or "no marks of it were found"
    whose = f"of {record.owner}" if record else "owner unknown"
    message = f"Temporal has forgotten life {life} of {name} ({whose}), on host {host}: {what}."
    if marks.not_searched:
        message += f" Not searched: {'; '.join(marks.not_searched)}."
    return ForgottenLife(
        EnvironmentStart(environment=environment, request_id="", people_are_checked=True),
        requested_at,
        message,
    )


def _only_life(name: str, marks: FoundMarks) -> str:
    lives = marks.lives
    if len(lives) == 1:
        return next(iter(lives))
    if lives:
        each = "; ".join(f"{life}: {', '.join(one.what for one in lives[life])}" for life in sorted(lives))
        raise CannotPlan(f"{len(lives)} lives of {name} have left something, so name one by its life: {each}")
    if marks.not_searched:
        raise CannotPlan(
            f"no run of {name} in Temporal can be read, and no marks were found, but not all was searched "
            f"({'; '.join(marks.not_searched)}): name its life, which is the last part of its owner mark"
        )
    raise CannotPlan(
        f"no run of {name} in Temporal can be read, and nothing bears its marks: nothing is left"
    )


def _host_of(
    marked: Sequence[Marked], record: LifeRecord | None, installation: InstallationConfig, wanted: str | None
) -> str:
    found = sorted({one.host for one in marked if one.host})
    if wanted is not None and wanted not in installation.hosts:
        raise CannotPlan(
            f'there is no host "{wanted[:80]}": the hosts are {", ".join(sorted(installation.hosts))}'
        )
    if wanted is None and len(found) > 1:
        raise CannotPlan(f"it has left something on the hosts {', '.join(found)}: name one of them")
    if wanted is not None and found and wanted not in found:
        raise CannotPlan(f"its namespace is on host {found[0]}, and not on {wanted}")
    if wanted is not None or found:
        return wanted or found[0]
    if record and record.host in installation.hosts:
        return record.host
    if len(installation.hosts) == 1:
        return next(iter(installation.hosts))
    raise CannotPlan(f"its host is not known: name one of {', '.join(sorted(installation.hosts))}")
