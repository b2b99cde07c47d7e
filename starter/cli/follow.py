"""Waits for an environment to reach a state, shows its progress, and reports the result."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import typer

from contracts.environment import Outcome, Phase, StepState
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import clock, moment, print_certificate, problem_lines, say
from starter.cli.output.live_progress import showing
from starter.cli.output.printing import print_line
from starter.environments.schemas import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

Done = Callable[[EnvironmentView], bool]


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
        return follow(api, name, life, done, output, to_stdout=to_stdout, saw=seen.append, about=about)
    except KeyboardInterrupt:
        _stopped_watching(name, seen[-1] if seen else None)


def follow(
    api: "Api",
    name: str,
    life: str,
    done: Done,
    output: Output,
    *,
    to_stdout: bool = False,
    saw: Callable[[EnvironmentView], object] = lambda _: None,
    about: str = "",
) -> EnvironmentView:
    """Follow as `follow_until`, for a command that continues after Ctrl-C.

    It calls `saw` with each state.
    """
    out = sys.stdout if to_stdout else sys.stderr
    view: EnvironmentView | None = None
    with showing(out, output, about) as show:
        for seen in api.follow(name):
            if life and seen.life and seen.life != life:
                message = f"{name} has ended, and its name is in use again"
                how = f"how it ended: moorage history {name}"
                raise CliError(Code.NOT_FOUND, message, next_steps=[how])
            view = seen
            saw(view)
            show.update(view)
            if view.ended or done(view):
                break
    if view is None:
        raise CliError(Code.NOT_FOUND, f"{name} is gone: nothing is known of it any more")
    return view


def is_ready(view: EnvironmentView) -> bool:
    """Return whether the environment is ready, or will not become ready without a new request."""
    return view.phase in (Phase.READY, Phase.TEARDOWN_INCOMPLETE)


def is_over(view: EnvironmentView) -> bool:
    """Return whether its teardown has ended, or waits for a person."""
    return view.ended or view.phase is Phase.TEARDOWN_INCOMPLETE


def passed_again(before: EnvironmentView) -> Done:
    """Return a check that the started pass is over and incomplete; `before` is the old state."""

    def again(view: EnvironmentView) -> bool:
        # The first view can still be the state before the pass; after the start of the pass, the trail has a
        # new entry.
        return _waits(view) and (not _waits(before) or view.trail[-1:] != before.trail[-1:])

    return again


def _waits(view: EnvironmentView) -> bool:
    """Return whether a teardown waits for its next pass, or for a person."""
    return view.phase is Phase.TEARDOWN_INCOMPLETE or view.next_pass_at is not None


def tell_next(view: EnvironmentView) -> None:
    """Print the next commands for an environment that is ready."""
    say()
    say(f"{view.name} is ready. Next:")
    say(f"  moorage kubeconfig {view.name} --merge    # then: kubectl get namespaces")
    say(f"  moorage show {view.name}")
    say(f"  moorage delete {view.name}")


def not_made(view: EnvironmentView) -> CliError:
    """Build the error for a failed environment: what was done and undone, and the next steps."""
    next_steps = []
    if view.problem:
        message = f"{view.name} could not be made. {view.problem.step}: {view.problem.cause}"
        if view.problem.remedy:
            next_steps.append(view.problem.remedy)
    elif view.outcome:
        by = next((entry for entry in reversed(view.trail) if _ends_it(entry.what)), None)
        message = f"{view.name} was {_PAST[view.outcome]}" + (f" ({by.who} {by.what})" if by else "")
    else:
        message = f"{view.name} ended. {view.remark}".strip()
    lines = []
    if undone := [str(step.step) for step in view.steps if step.state is StepState.UNDONE]:
        lines.append(f"undone: {', '.join(undone)}")
    if view.certificate and view.certificate.nothing_left:
        lines.append("nothing is left of it, in any system")
        next_steps.append(f"ask again: moorage request {view.name} {view.template}")
    if not is_over(view):
        next_steps.append(f"it is still being taken down: moorage watch {view.name}")
    if view.phase is Phase.TEARDOWN_INCOMPLETE:
        lines += [f"not undone: {one.step} ({one.system}): {one.cause}" for one in view.unfinished]
        next_steps.append(_resume(view))
    problem = _as_problem(message, view)
    return CliError(Code.FAILED, message, lines=lines, next_steps=next_steps, problem=problem)


def tell_gone(view: EnvironmentView, *, quiet: bool) -> None:
    """Show the certificate, unless `quiet`; raise CliError if something may be left."""
    if not view.ended:
        message = f"{view.name} could not be taken down completely"
        if view.next_pass_at:
            message = f"{message} yet; the next pass starts {clock(view.next_pass_at)}"
        raise CliError(
            Code.FAILED,
            message,
            lines=problem_lines(view),
            next_steps=[_resume(view)],
            problem=_as_problem(message, view),
        )
    if view.certificate is None:
        message = f"{view.name} has ended, and nothing says that nothing is left. {view.remark}".strip()
        raise CliError(Code.FAILED, message, problem=_as_problem(message, view))
    if not quiet:
        print_line(f"{view.name} is gone ({view.outcome}).")
        print_certificate(view.certificate)


def tell_teardown(view: EnvironmentView, *, quiet: bool) -> None:
    """Show the state of its teardown; raise CliError if it waits for a person or is missing."""
    if is_over(view):
        tell_gone(view, quiet=quiet)
    elif view.outcome is None:
        message = f"{view.name} is {view.phase}: it is not being torn down"
        raise CliError(
            Code.FAILED,
            message,
            next_steps=[f"moorage delete {view.name}"],
            problem=_as_problem(message, view),
        )
    elif not quiet:
        print_line(f"{view.name} is being torn down by itself.")
        for line in problem_lines(view):
            print_line(f"  {line}")
        if view.next_pass_at:
            print_line(f"The next pass starts {clock(view.next_pass_at)}, {moment(view.next_pass_at)}.")
            say(f"At once, for the platform team:  moorage teardown {view.name} --now")
        say(f"Watch it with:  moorage watch {view.name}")


def _resume(view: EnvironmentView) -> str:
    return f"mend the cause; then the platform team has it tried again: moorage teardown {view.name} --now"


_PAST = {
    Outcome.DELETED: "deleted",
    Outcome.EXPIRED: "ended: its time was up",
    Outcome.FAILED: "not made",
    Outcome.CANCELLED: "cancelled",
}


def _ends_it(what: str) -> bool:
    return what.startswith(("asked to delete", "cancelled", "ended"))


def _as_problem(message: str, view: EnvironmentView) -> dict[str, object]:
    return {"detail": message, "environment": view.model_dump(mode="json")}


def _stopped_watching(name: str, view: EnvironmentView | None) -> NoReturn:
    say()
    goes_on = f"{name} is {view.phase} and goes on by itself" if view else f"{name} goes on by itself"
    say(f"Stopped watching; {goes_on}.")
    say(f"Watch it again with:  moorage watch {name}")
    if view and view.phase in (Phase.PROVISIONING, Phase.USABLE) and view.outcome is None:
        say(f"Stop making it with:  moorage cancel {name}")
    raise typer.Exit(Code.INTERRUPTED)
