"""The commands that put environments to sleep and wake them."""

import secrets
from typing import TYPE_CHECKING, Any

import click

from contracts.phases import Phase
from starter.cli.arguments.options import environments_argument, examples, no_wait_option, output_option
from starter.cli.batch import run_in_turn
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import follow_until
from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder
from starter.cli.output.formatting import print_note
from starter.cli.terminal.text import print_json, print_json_line, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api


@click.command(
    epilog=examples(
        "moorage sleep demo",
        "moorage sleep demo --after 2h",
        'moorage sleep demo --schedule "Mon-Fri 08:00-20:00 Europe/Berlin"',
        "moorage sleep demo --as-template",
    )
)
@environments_argument
@click.option("--after", help='Let it fall asleep after this time without a credential, such as "2h".')
@click.option("--schedule", help="Let it fall asleep outside of these hours.")
@click.option("--as-template", is_flag=True, help="Let it fall asleep when its template says so.")
@no_wait_option
@output_option()
@click.pass_context
def sleep(
    ctx: click.Context,
    names: tuple[str, ...],
    after: str | None,
    schedule: str | None,
    as_template: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Put environments to sleep, and wait until their pods are gone.

    Their CPU and memory go to others; their volumes stay, and so does their end. Any kubectl command of their
    people wakes them. Pods that no controller makes again are lost.

    With an option, it puts nothing to sleep now, and changes when they fall asleep by themselves. They may
    sleep more than their template says, and not less.
    """
    if as_template and (after or schedule):
        raise click.UsageError("--as-template excludes --after and --schedule.")
    if not (as_template or after or schedule):
        _change(ctx, "sleep", names, no_wait, output)
        return
    body = {"after": after, "schedule": schedule}
    with api_session(ctx, output) as api:
        run_in_turn(list(dict.fromkeys(names)), lambda name: _change_policy(api, name, body, output), output)


def _change_policy(api: "Api", name: str, body: dict[str, Any], output: Output) -> None:
    done = api.call("PUT", f"{environment_path(name)}/sleep-policy", body=body, key=secrets.token_hex(16))
    if output is Output.JSON:
        print_json_line(done)
    else:
        print_line(done["message"])


@click.command(epilog=examples("moorage wake demo", "moorage wake demo pr-512 --no-wait"))
@environments_argument
@no_wait_option
@output_option()
@click.pass_context
def wake(ctx: click.Context, names: tuple[str, ...], no_wait: bool, output: Output) -> None:
    """Wake environments, and wait until they are ready.

    Where the host or a quota has no room for one, it stays asleep, and the error says what would help.
    """
    _change(ctx, "wake", names, no_wait, output)


def _change(ctx: click.Context, what: str, names: tuple[str, ...], no_wait: bool, output: Output) -> None:
    with api_session(ctx, output) as api:
        run_in_turn(
            list(dict.fromkeys(names)), lambda name: _change_one(api, what, name, no_wait, output), output
        )


def _change_one(api: "Api", what: str, name: str, no_wait: bool, output: Output) -> None:
    if what == "sleep":
        # The next command of kubectl then asks the API, which has it woken.
        CertificateCache(cache_folder()).clear()
    # Use one key for all attempts, because a repeat of a lost call must not undo a later change.
    done = api.call("POST", f"{environment_path(name)}/{what}", key=secrets.token_hex(16))
    if no_wait:
        _print_answer(done, output)
        return
    if output is Output.TABLE:
        print_note(done["message"])
    view = await_sleep(api, done, to_wake=what == "wake", output=output)
    if output is Output.JSON:
        print_json_line(to_json(view))
    else:
        print_line(f"{name} is {'awake' if view.phase is Phase.READY else view.phase.words}.")


def await_sleep(api: "Api", done: dict[str, Any], *, to_wake: bool, output: Output) -> EnvironmentView:
    """Follow it until it is awake or asleep; raise CliError if it became something else."""
    goal = Phase.READY if to_wake else Phase.ASLEEP
    # Those of whom the other of the two is wanted by another person meanwhile stop as well.
    ends = (Phase.READY, Phase.ASLEEP, Phase.TEARING_DOWN, Phase.TEARDOWN_INCOMPLETE)
    seen_change: list[bool] = []

    def is_over(view: EnvironmentView) -> bool:
        if view.phase not in ends:
            seen_change.append(True)
        failed = bool(view.sleep and view.sleep.problem)
        return view.phase is goal or (view.phase in ends and bool(seen_change)) or (to_wake and failed)

    view = follow_until(api, done["name"], done["life"], is_over, output)
    if view.phase is goal and not view.ended:
        return view
    if view.sleep and view.sleep.problem:
        problem = view.sleep.problem
        message = f"{view.name} could not be {'woken' if to_wake else 'put to sleep'}. {problem.cause}"
        raise CliError(Code.FAILED, message, next_steps=[problem.remedy] if problem.remedy else [])
    state = "gone" if view.ended else f"{view.phase.words}: another person has changed it meanwhile"
    raise CliError(Code.FAILED, f"{view.name} is {state}")


def _print_answer(done: dict[str, Any], output: Output) -> None:
    if output is Output.JSON:
        print_json(done)
        return
    print_line(done["message"])
    print_note(f"Watch it with:  moorage show {done['name']}")
