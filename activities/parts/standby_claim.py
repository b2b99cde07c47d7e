"""Who has a standby's namespace: an environment takes it over, or its standby withdraws it, never both.

All of it is compare-and-swap of the namespace, which holds the mark, so each changes what the others have
seen. A standby's name is never used again, so what is over for one environment stays over.
"""

from collections.abc import Mapping

from temporalio import activity

from activities.errors import NotYet
from activities.ownership import mark_text
from activities.parts.concurrent_reads import read_together
from activities.parts.host_lookup import chart_of, is_own_namespace, require_own_namespace
from activities.parts.release_change import release_labels
from clients.errors import Denied
from clients.errors import NotYet as NotThereYet
from clients.host.models import Namespace, ReleaseStatus
from clients.host.protocol import Host
from contracts.environment.chart_values import compose_values
from contracts.environment.models import Environment, System
from contracts.types.naming import ANNOTATION_STANDBY, LABEL_REVISION, OFFERED, OwnerMark

#: Swaps that others may win in a row: an environment and the standby itself, and an administrator.
_ATTEMPTS = 5
#: What the annotation says of a standby that is withdrawn at its end.
_ENDS = "it ends"


async def take_over(
    host: Host, environment: Environment, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Environment:
    """Make the standby's namespace the environment's; return the environment as it is on its host.

    That is without its standby if this was too late, or the standby is broken or outdated. It says so only
    when no earlier call of ours can still succeed: the namespace is gone, or has changed since.
    """
    standby = environment.standby
    assert standby is not None  # noqa: S101  (the caller has checked it)
    name = environment.host_name
    for _ in range(_ATTEMPTS):
        seen = await host.get_namespace(name)
        if is_own_namespace(seen, environment.mark):
            return environment
        if seen is None or not _is_offered(seen, standby):
            return environment.without_standby
        try:
            problem = await _problem_of(host, environment, standby)
            if problem:
                # Not only refuse it: an earlier call of ours to take it over may still be on its way.
                activity.logger.warning("standby %s is not taken over: %s", standby.name, problem)
                await host.swap_namespace(seen, {}, {ANNOTATION_STANDBY: problem})
            elif await host.swap_namespace(seen, labels, {**annotations, ANNOTATION_STANDBY: None}):
                return environment
        except Denied as error:
            if activity.info().attempt > 1:
                raise
            # The right was taken away since the offer, and no earlier call can be on its way.
            activity.logger.warning("standby %s is not taken over: %s", standby.name, error)
            return environment.without_standby
    raise _unsettled(host, name)


async def offer(host: Host, standby: Environment) -> None:
    """Let environments take over a standby that is complete.

    Raises:
        Denied: Our account may not change namespaces, so no environment could take it over.
    """
    for _ in range(_ATTEMPTS):
        seen = await require_own_namespace(host, standby)
        if ANNOTATION_STANDBY in seen.annotations:
            return
        if await host.swap_namespace(seen, {}, {ANNOTATION_STANDBY: OFFERED}):
            return
    raise _unsettled(host, standby.host_name)


async def withdraw(host: Host, standby: Environment) -> OwnerMark | None:
    """End the offer of a standby; return the mark of the environment that has taken it over, if one has.

    Without one, none can take it over any more.
    """
    name = standby.host_name
    for _ in range(_ATTEMPTS):
        seen = await host.get_namespace(name)
        if seen is None or seen.terminating:
            return None
        if not is_own_namespace(seen, standby.mark):
            return OwnerMark.parse(mark_text(seen.labels))
        state = seen.annotations.get(ANNOTATION_STANDBY)
        if state not in (None, OFFERED):
            return None
        try:
            if await host.swap_namespace(seen, {}, {ANNOTATION_STANDBY: _ENDS}):
                return None
        except Denied:
            if state == OFFERED:
                raise
            # It was never offered, and could not be.
            return None
    raise _unsettled(host, name)


def _is_offered(seen: Namespace, standby: OwnerMark) -> bool:
    is_whole = is_own_namespace(seen, standby) and not seen.terminating
    return is_whole and seen.annotations.get(ANNOTATION_STANDBY) == OFFERED


async def _problem_of(host: Host, environment: Environment, standby: OwnerMark) -> str:
    """Return why the standby is not what the environment would make now; "" if it is."""
    name = environment.host_name
    release = await host.get_release(name, name)
    if release is None or release.status is not ReleaseStatus.DEPLOYED:
        return "its release is not deployed"
    if not standby.matches_labels(release.labels):
        return "its release has another mark"
    try:
        overlay, health = await read_together(host.overlay(name, name), host.health(name, name))
    except NotThereYet as error:
        # The host has no way in to it any more, and none comes by itself: it was there when it was offered.
        return f"it cannot be reached: {error.detail}"
    wanted = release_labels(environment, compose_values(environment, overlay))
    if release.labels.get(LABEL_REVISION) != wanted[LABEL_REVISION]:
        return f"it is not of the chart and the values of {chart_of(environment).version} now"
    return health.problem


def _unsettled(host: Host, name: str) -> NotYet:
    return NotYet(
        System.HOST_CLUSTER,
        f"Namespace {name} on host {host.name} changes again and again",
        "See what changes its labels or annotations",
    )
