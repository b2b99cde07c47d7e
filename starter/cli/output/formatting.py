"""Formats environments, histories and certificates as tables and lines for users."""

import math
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from contracts.phases import SLEEP_PHASES, Phase, SleepReason, StepState
from contracts.types.durations import format_duration, parse_duration
from contracts.types.labels import format_labels
from contracts.types.printable_text import escape
from starter.cli.terminal.program_name import as_called
from starter.cli.terminal.text import local_time as local_time
from starter.cli.terminal.text import print_json as print_json
from starter.cli.terminal.text import print_line
from starter.cli.views.base import ParameterValue
from starter.cli.views.environments import (
    AccessView,
    CertificateView,
    Drift,
    EnvironmentRow,
    EnvironmentView,
    HistoryView,
    SleepPolicy,
    Snapshot,
    StepView,
    Unwell,
)
from starter.cli.views.sweeps import LeaversView, OutcomeCount, SweepView

#: What has put an environment to sleep, where it was no person.
_BY = {SleepReason.IDLE: "its idle time", SleepReason.SCHEDULE: "its schedule"}

MARKS = {
    StepState.WAITING: "·",
    StepState.RUNNING: "●",
    StepState.DONE: "✓",
    StepState.FAILED: "✗",
    StepState.UNDOING: "●",
    StepState.UNDONE: "↩",
    StepState.UNDO_FAILED: "✗",
}


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table that is as wide as its cells; print `empty` instead if there are no rows."""
    found = [list(map(escape, row)) for row in rows]
    if not found:
        print_line(empty)
        return
    table = [[column.upper() for column in columns], *found]
    widths = [max(len(row[index]) for row in table) for index in range(len(columns))]
    for row in table:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def environment_row(row: EnvironmentRow) -> list[str]:
    """Format an environment as a row of a list."""
    state = row.outcome or row.phase if row.ended else row.phase
    when = row.ended_at if row.ended else row.expires_at
    owner = row.owner + (", who has left" if row.owner_left_at else "")
    return [row.name, state, row.template, owner, row.team, row.host, relative_time(when)]


def problem_line(row: EnvironmentRow) -> str:
    """Format the problem of an environment in a list, and its next attempt."""
    following = f"; next try {_relative_and_local(row.next_try_at)}" if row.next_try_at else ""
    return f"{row.name}: {row.problem.rstrip('.')}{following}"


def unwell_line(row: EnvironmentRow) -> str:
    """Format what is wrong with a usable environment in a list."""
    return f"{row.name}: {_since(row.unwell)}"


def _assignment(item: tuple[str, ParameterValue]) -> str:
    return f"{item[0]}={parameter_text(item[1])}"


def parameter_text(value: ParameterValue) -> str:
    """Format a value of a parameter as `--set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def relative_time(when: datetime | None) -> str:
    """Format how far a time is in the past or the future."""
    if when is None:
        return ""
    away = when - datetime.now(UTC)
    return f"in {format_duration(away)}" if away.total_seconds() > 0 else f"{format_duration(-away)} ago"


def elapsed(step: StepView) -> str:
    """Format how long a step took, or has been running."""
    if step.started_at is None:
        return ""
    length = (step.ended_at or datetime.now(UTC)) - step.started_at
    seconds = max(0.0, length.total_seconds())
    return f"{seconds:.1f}s" if seconds < 10 else format_duration(length)


def step_details(step: StepView) -> str:
    """Return what a running step waits for, or the note of a completed one, in one safe line."""
    return escape(_step_details(step))


def _step_details(step: StepView) -> str:
    progress = step.progress
    if progress is None:
        return step.note
    if progress.throttled_by and progress.next_attempt_at:
        left = progress.next_attempt_at - datetime.now(UTC)
        return (
            f"throttled by {progress.throttled_by}, next try in {max(1, math.ceil(left.total_seconds()))} s"
        )
    parts = [progress.waiting_for]
    if progress.attempt > 1 or progress.next_attempt_at:
        parts.append(f"attempt {progress.attempt}")
    if progress.next_attempt_at:
        parts.append(f"next {relative_time(progress.next_attempt_at)}")
    if progress.last_failure:
        parts.append(f"last failure: {progress.last_failure}")
    return "; ".join(filter(None, parts))


def print_environment(view: EnvironmentView, *, planned: bool = False) -> None:
    """Print the details of one environment; `planned` for the environment of a dry run."""
    ttl = format_duration(parse_duration(view.ttl)) if view.ttl else ""
    newer = f"; version {view.template_newer} exists" if view.template_newer else ""
    version = f" version {view.template_version}{newer}" if view.template_version else ""
    rows = [
        ("name", view.name),
        ("phase", "" if planned else view.phase + (f", {view.outcome}" if view.outcome else "")),
        ("but", _since(view.unwell)),
        *(("altered", _drift(one)) for one in view.drift),
        ("asleep", _sleep(view)),
        ("sleeps", "" if view.ended else sleep_policy_text(view.sleep_policy)),
        ("owner", f"{view.owner} ({view.team})" + _offer(view)),
        ("with", ", ".join(view.collaborators)),
        ("change", "" if planned else _change(view)),
        ("restore", restore_text(view)),
        *(("snapshot", _snapshot(one)) for one in reversed(view.snapshots)),
        ("parameters", ", ".join(map(_assignment, view.parameters.items()))),
        ("labels", format_labels(view.labels)),
        ("changing", _access_changes(view.access)),
        ("template", view.template + version),
        ("host", view.host),
        ("requested", "" if planned else relative_time(view.requested_at)),
        ("ready", relative_time(view.ready_at)),
        ("ended", _relative_and_local(view.ended_at) if view.ended else ""),
        ("ends", "" if view.ended else _end(view)),
        ("next pass", _relative_and_local(view.next_pass_at)),
        ("time to live", ttl),
        ("life", "" if planned else view.life),
        ("trace", "" if planned else view.trace),
        ("note", view.remark),
    ]
    for key, value in rows:
        if value:
            print_line(f"{key + ':':<14}{value}")
    if view.steps:
        print_line()
        for line in step_lines(view):
            print_line(line)
    for line in problem_lines(view):
        print_line(line)
    if view.certificate:
        print_line()
        print_certificate(view.certificate)


def _change(view: EnvironmentView) -> str:
    """Format the change of its template that is in progress, or why the last one was rolled back."""
    change, problem = view.change, view.change_problem
    if change is None:
        return f"the last one was rolled back: {problem.step}: {problem.cause}" if problem else ""
    if change.going_back and problem:
        return f"going back to version {view.template_version}: {problem.step}: {problem.cause}"
    return f"to {change.template} version {change.template_version}, by {change.actor}"


def restore_text(view: EnvironmentView) -> str:
    """Format the restore that is in progress, or why the last one has left the state of before."""
    restore, problem = view.restore, view.restore_problem
    if view.ended or view.outcome:
        return ""
    if restore is None:
        return f"the last one failed, and it has the state of before: {problem.cause}" if problem else ""
    text = f"snapshot {restore.number} is being restored, by {restore.actor}; without volumes"
    if restore.problem:
        text = f"snapshot {restore.number} failed, going back to the state before: {restore.problem.cause}"
    if restore.obstacle:
        following = f"; next try {local_time(restore.next_try_at)}" if restore.next_try_at else ""
        text = f"{text.rstrip('.')}; not yet: {restore.obstacle.cause}{following}"
    return text


def _snapshot(snapshot: Snapshot) -> str:
    """Format a snapshot, and what it leaves out."""
    before = f" before {snapshot.before}" if snapshot.before else ""
    if snapshot.problem:
        return f"{snapshot.number}{before} was not taken: {snapshot.problem.cause}"
    if snapshot.taken_at is None:
        return f"{snapshot.number}{before} is being taken"
    return f"{snapshot.number}, taken {relative_time(snapshot.taken_at)}{before}; without volumes"


def _offer(view: EnvironmentView) -> str:
    """Format what the team can do once the owner has left."""
    if view.owner_left_at is None or view.ended:
        return ""
    return f", who has left; a member of the team can take it: moorage transfer {view.name} --to EMAIL"


def sleep_policy_text(policy: SleepPolicy | None) -> str:
    """Format when an environment falls asleep by itself; "" if it does not."""
    if policy is None:
        return ""
    parts = [f"after {format_duration(policy.after)} without a credential"] if policy.after else []
    parts += [f"outside of {policy.schedule}"] if policy.schedule else []
    return ", ".join(parts)


def _drift(drift: Drift) -> str:
    """Format what is missing or altered, and whether it is repaired."""
    what = f"{drift.what}, since {local_time(drift.since)}"
    if drift.problem:
        return f"{what}; could not be repaired so far: {drift.problem.cause}"
    return f"{what}; being repaired" if drift.repairs else f"{what}; not repaired by itself"


def _sleep(view: EnvironmentView) -> str:
    """Format its sleep; "" while it is awake or being torn down."""
    sleep = view.sleep
    if sleep is None or view.phase not in SLEEP_PHASES:
        return ""
    if sleep.problem:
        return f"not yet: {sleep.problem.cause}" if sleep.asleep_at is None else sleep.problem.cause
    if view.phase is not Phase.ASLEEP:
        return ""
    actor = _BY.get(sleep.reason, sleep.actor)
    return f"{relative_time(sleep.asleep_at)}, by {actor}; wake it: moorage wake {view.name}"


def _access_changes(access: AccessView | None) -> str:
    """Format the changes of access that other systems do not have yet; "" if there are none."""
    if access is None:
        return ""
    parts = [
        f"{what} {', '.join(people)}"
        for what, people in (("adding", access.granting), ("removing", access.revoking))
        if people
    ]
    return "; ".join(parts) + (f": {access.problem.cause}" if access.problem else "")


def _since(unwell: Unwell | None) -> str:
    """Format what is wrong with a usable environment; "" if nothing is."""
    if unwell is None:
        return ""
    return unwell.what + (f", since {local_time(unwell.since)}" if unwell.since else "")


def print_history(history: HistoryView) -> None:
    """Print the lives of a name in the order in which users read them, latest last."""
    for life in reversed(history.lives):
        end = f"{life.outcome or life.phase}, {local_time(life.ended_at)}" if life.ended_at else life.phase
        print_line(f"{history.name} of {life.owner} ({life.team}), {life.template}: {end}")
        for entry in life.audit_log:
            when = entry.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
            result = f": {entry.result}" if entry.result else ""
            print_line(f"  {when}  {entry.actor} {entry.action}{result}")
        if life.expires_at and not life.ended:
            print_line(f"  ends {local_time(life.expires_at)}, {relative_time(life.expires_at)}")
        if life.certificate:
            left = ", ".join(one for system in life.certificate.systems for one in system.left)
            print_line(f"  certificate: {left or 'nothing left'}")
        if life.remark:
            print_line(f"  {life.remark}")


def print_sweep(view: SweepView) -> None:
    """Print what a sweep did, or would do."""
    result = view.result
    print_line(view.message)
    if result is None:
        return
    if result.frozen:
        print_line(f"Nothing ends now. {result.frozen}")
    for name in ("warned", "ended", "kept", "failed"):
        tally: OutcomeCount = getattr(result, name)
        for line in tally.lines:
            print_line(f"  {name:<7} {line.name:<30}  {line.reason}")
        if tally.count > len(tally.lines):
            print_line(f"  {name:<7} … and {tally.count - len(tally.lines)} more")


def print_leavers(view: LeaversView) -> None:
    """Print what a leaver sweep found and did."""
    result = view.result
    print_line(view.message + (f" ({local_time(result.now)})" if result else ""))
    if result is None:
        return
    for line in result.lines:
        print_line(f"  {line.name:<30}  {line.person}: {line.result}")
    for person in result.waiting:
        print_line(f"  waits: {person}")
    if result.waiting:
        print_note("If they have left:  moorage leavers --confirm")


def _end(view: EnvironmentView) -> str:
    """Format its end, with a freeze if there is one; "" after the start of its teardown."""
    if view.outcome:
        return ""
    if view.frozen is None:
        return _relative_and_local(view.expires_at)
    by = f" by {view.frozen.by}" if view.frozen.by else ""
    then = f"; its time is up {_relative_and_local(view.expires_at)}" if view.expires_at else ""
    return f"not before the thaw: all ends are frozen{by}: {view.frozen.reason}{then}"


def _relative_and_local(when: datetime | None) -> str:
    return f"{relative_time(when)} ({local_time(when)})" if when else ""


def step_lines(view: EnvironmentView) -> list[str]:
    """Format the steps, one line each."""
    width = max((len(step.system) for step in view.steps), default=0)
    return [
        f"  {MARKS[step.state]} {step.step:<13} {step.system:<{width}}  {elapsed(step):>7}  "
        f"{step.state if step.state is not StepState.WAITING else '':<11} {step_details(step)}".rstrip()
        for step in view.steps
    ]


def problem_lines(view: EnvironmentView) -> list[str]:
    """Format why it could not be created, and what could not be undone."""
    lines = []
    if view.problem:
        lines.append(f"{view.problem.step} ({view.problem.system}): {view.problem.cause}")
        if view.problem.remedy:
            lines.append(view.problem.remedy)
    for problem in view.unfinished:
        lines.append(f"not undone: {problem.step} ({problem.system}): {problem.cause}")
        if problem.remedy:
            lines.append(problem.remedy)
    return lines


def print_certificate(certificate: CertificateView) -> None:
    """Print the findings of the inspection after the teardown, one line per system."""
    when = certificate.inspected_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    print_line(f"Certificate, inspected {when}:")
    for system in certificate.systems:
        kept = f"; kept, as the template says: {', '.join(system.kept)}" if system.kept else ""
        print_line(f"  {system.system:<18} {', '.join(system.left) or 'nothing left'}{kept}")
        for line in system.forced:
            print_line(f"  {'':<18} by force: {line}")
    if not certificate.systems:
        print_line("  nothing had been made, so nothing is left")


def print_note(line: str = "") -> None:
    """Print a line for the user that is not part of the command's output."""
    print_line(as_called(line), file=sys.stderr)
