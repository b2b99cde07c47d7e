"""Waits for an environment to reach a state, shows its progress, and reports the result."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from contracts.phases import Outcome, Phase, StepState
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import (
    local_time,
    print_certificate,
    print_note,
    problem_lines,
    relative_time,
)
from starter.cli.output.live_progress import open_progress
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

Done = Callable[[EnvironmentView], bool]


def print_answer(answer: dict[str, Any], output: Output, *, waits: bool) -> None:
    """Print the API's answer to a change: as the result, or as a note if the command `waits` for another."""
    if waits:
        if output is Output.TABLE:
            print_note(answer["message"])
    elif output is Output.JSON:
        print_json(answer)
    else:
        print_line(answer["message"])


def follow_until(
    api: "Api",
    name: str,
    life: str,
    done: Done,
    output: Output,
    *,
    to_stdout: bool = False,
    about: str = "",
) -> EnvironmentView:
    """Follow this life until `done` or its end, and return its last state.

    Ctrl-C ends only the command.
    """
    seen: list[EnvironmentView] = []
    try:
        return follow(api, name, life, done, output, to_stdout=to_stdout, on_view=seen.append, about=about)
    except KeyboardInterrupt:
        _exit_interrupted(name, seen[-1] if seen else None)


def follow(
    api: "Api",
    name: str,
    life: str,
    done: Done,
    output: Output,
    *,
    to_stdout: bool = False,
    on_view: Callable[[EnvironmentView], object] = lambda _: None,
    about: str = "",
) -> EnvironmentView:
    """Follow as `follow_until`, for a command that continues after Ctrl-C.

    It calls `on_view` with each state.
    """
    out = sys.stdout if to_stdout else sys.stderr
    view: EnvironmentView | None = None
    with open_progress(out, output, about) as show:
        for seen in api.follow(name):
            if life and seen.life and seen.life != life:
                message = f"{name} has ended, and another environment has its name"
                how = f"see how it ended: moorage history {name}"
                raise CliError(Code.NOT_FOUND, message, next_steps=[how])
            view = seen
            on_view(view)
            show.update(view)
            if view.ended or done(view):
                break
    if view is None:
        raise CliError(Code.NOT_FOUND, f"{name} is gone, and there is no record of it")
    return view


def is_ready(view: EnvironmentView) -> bool:
    """Return whether the environment is ready, or will not become ready without a new request."""
    return view.phase in (Phase.READY, Phase.ASLEEP, Phase.TEARDOWN_INCOMPLETE)


def is_over(view: EnvironmentView) -> bool:
    """Return whether its teardown has ended, or waits for a person."""
    return view.ended or view.phase is Phase.TEARDOWN_INCOMPLETE


def pass_ended_since(before: EnvironmentView) -> Done:
    """Return a check that the started pass is over and incomplete; `before` is the old state."""

    def again(view: EnvironmentView) -> bool:
        # The first view can still be the state before the pass; after the start of the pass, the trail has a
        # new entry.
        return _is_waiting(view) and (not _is_waiting(before) or view.audit_log[-1:] != before.audit_log[-1:])

    return again


def _is_waiting(view: EnvironmentView) -> bool:
    """Return whether a teardown waits for its next pass, or for a person."""
    return view.phase is Phase.TEARDOWN_INCOMPLETE or view.next_pass_at is not None


def print_next_commands(view: EnvironmentView) -> None:
    """Print the next commands for an environment that is ready."""
    print_note()
    print_note(f"{view.name} is ready. Next:")
    print_note(f"  moorage kubeconfig {view.name} --merge    # then: kubectl get namespaces")
    print_note(f"  moorage show {view.name}")
    print_note(f"  moorage delete {view.name}")


def creation_failure(view: EnvironmentView) -> CliError:
    """Build the error for a failed environment: what was done and undone, and the next steps."""
    next_steps = []
    if view.problem:
        message = f"{view.name} could not be created. {view.problem.step}: {view.problem.cause}"
        if view.problem.remedy:
            next_steps.append(view.problem.remedy)
    elif view.outcome:
        by = next((entry for entry in reversed(view.audit_log) if _is_end_request(entry.action)), None)
        message = f"{view.name} was {_PAST[view.outcome]}" + (f" ({by.actor} {by.action})" if by else "")
    else:
        message = f"{view.name} ended. {view.remark}".strip()
    lines = []
    if undone := [str(step.step) for step in view.steps if step.state is StepState.UNDONE]:
        lines.append(f"undone: {', '.join(undone)}")
    if view.certificate and view.certificate.nothing_left:
        lines.append("nothing is left of it in any system")
        next_steps.append(f"request it again: moorage request {view.name} {view.template}")
    if not is_over(view):
        next_steps.append(f"it is still being removed: moorage watch {view.name}")
    if view.phase is Phase.TEARDOWN_INCOMPLETE:
        lines += [f"not undone: {one.step} ({one.system}): {one.cause}" for one in view.unfinished]
        next_steps.append(_resume(view))
    problem = _as_problem(message, view)
    return CliError(Code.FAILED, message, lines=lines, next_steps=next_steps, problem=problem)


def report_removal(view: EnvironmentView, *, quiet: bool) -> None:
    """Show the certificate, unless `quiet`; raise CliError if something may be left."""
    if not view.ended:
        message = f"{view.name} could not be removed completely"
        if view.next_pass_at:
            message = f"{message} yet; the next pass starts {local_time(view.next_pass_at)}"
        raise CliError(
            Code.FAILED,
            message,
            lines=problem_lines(view),
            next_steps=[_resume(view)],
            problem=_as_problem(message, view),
        )
    if view.certificate is None:
        message = f"{view.name} has ended without a certificate that nothing is left. {view.remark}".strip()
        raise CliError(Code.FAILED, message, problem=_as_problem(message, view))
    if not quiet:
        print_line(f"{view.name} is gone ({view.outcome}).")
        print_certificate(view.certificate)


def report_teardown(view: EnvironmentView, *, quiet: bool) -> None:
    """Show the state of its teardown; raise CliError if it waits for a person or is missing."""
    if is_over(view):
        report_removal(view, quiet=quiet)
    elif view.outcome is None:
        message = f"{view.name} is {view.phase.words}: it is not being torn down"
        raise CliError(
            Code.FAILED,
            message,
            next_steps=[f"moorage delete {view.name}"],
            problem=_as_problem(message, view),
        )
    elif not quiet:
        problems = problem_lines(view)
        what = "what is not undone yet is tried again" if problems else "no action is needed"
        print_line(f"{view.name} is being removed; {what}.")
        for line in problems:
            print_line(f"  {line}")
        if view.next_pass_at:
            print_line(
                f"The next pass starts {local_time(view.next_pass_at)}, {relative_time(view.next_pass_at)}."
            )
            print_note(f"Start it now, as the platform team:  moorage teardown {view.name} --now")
        print_note(f"Watch it with:  moorage watch {view.name}")


def _resume(view: EnvironmentView) -> str:
    return f"correct the cause; then the platform team resumes it: moorage teardown {view.name} --now"


_PAST = {
    Outcome.DELETED: "deleted",
    Outcome.EXPIRED: "ended: its time was up",
    Outcome.FAILED: "not created",
    Outcome.CANCELLED: "cancelled",
}


def _is_end_request(what: str) -> bool:
    return what.startswith(("asked to delete", "cancelled", "ended"))


def _as_problem(message: str, view: EnvironmentView) -> dict[str, object]:
    return {"detail": message, "environment": to_json(view)}


def _exit_interrupted(name: str, view: EnvironmentView | None) -> NoReturn:
    print_note()
    goes_on = (
        f"{name} is {view.phase.words} and continues without this command"
        if view
        else f"{name} continues without this command"
    )
    print_note(f"Stopped watching; {goes_on}.")
    print_note(f"Watch it again with:  moorage watch {name}")
    if view and view.phase in (Phase.PROVISIONING, Phase.USABLE) and view.outcome is None:
        print_note(f"Cancel it with:  moorage cancel {name}")
    raise click.exceptions.Exit(Code.INTERRUPTED)
