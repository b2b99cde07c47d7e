"""The commands for the people of an environment."""

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from contracts.phases import MOORAGE_ACTOR
from starter.cli.arguments.options import (
    environment_argument,
    examples,
    no_wait_option,
    output_option,
    yes_option,
)
from starter.cli.arguments.prompts import confirm
from starter.cli.client.api_paths import environment_path
from starter.cli.command_context import api_session
from starter.cli.completion import complete_owner
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import follow
from starter.cli.output.formatting import print_note, print_table
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import to_json
from starter.cli.views.environments import EnvironmentView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: The actions, and the method of the API for each.
_METHODS = {"add": "PUT", "remove": "DELETE"}
_ORDER = (
    "Write first the environment, then the action and the person: moorage collaborators NAME add EMAIL. "
    "With NAME alone, it shows the people."
)


class _Action(click.Choice[str]):
    """An action. The error says the order, because the name of the environment comes before it."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(f"'{value}' is not one of {' and '.join(self.choices)}. {_ORDER}", param, ctx)
        return value


@click.command(
    epilog=examples(
        "moorage collaborators demo",
        "moorage collaborators demo add grace@example.com",
        "moorage collaborators demo remove grace@example.com",
    )
)
@environment_argument
@click.argument("action", required=False, type=_Action(list(_METHODS)))
@click.argument("person", required=False, metavar="[EMAIL]", shell_complete=complete_owner)
@no_wait_option
@output_option()
@click.pass_context
def collaborators(
    ctx: click.Context, name: str, action: str | None, person: str | None, no_wait: bool, output: Output
) -> None:
    """Show the people of an environment, or add or remove a collaborator.

    Its owner and the platform team change them. The command waits until the person has access in all systems,
    or in none.
    """
    if (action is None) != (person is None):
        raise click.UsageError(_ORDER)
    with api_session(ctx, output) as api:
        if action is None or person is None:
            _print_people(api.environment(name), output)
            return
        path = f"{environment_path(name)}/collaborators/{quote(person, safe='')}"
        # Use one key for all attempts, because a repeat of a lost call must not undo a later change.
        done = api.call(_METHODS[action], path, key=secrets.token_hex(16))
        report_change(api, done, [person], no_wait=no_wait, output=output)
        if action == "add" and not no_wait:
            print_note(f"They get its kubeconfig with:  moorage kubeconfig {name}")


@click.command(
    epilog=examples(
        "moorage transfer demo --to grace@example.com", "moorage transfer demo --to me@example.com --yes"
    )
)
@environment_argument
@click.option(
    "--to", "person", required=True, metavar="EMAIL", shell_complete=complete_owner, help="The new owner."
)
@yes_option
@no_wait_option
@output_option()
@click.pass_context
def transfer(ctx: click.Context, name: str, person: str, yes: bool, no_wait: bool, output: Output) -> None:
    """Give an environment to a team mate.

    The quota of the new owner must allow it. The owner so far loses access; a new owner can add them as a
    collaborator.
    """
    with api_session(ctx, output) as api:
        view = api.environment(name)
        confirm(
            f"Give {name} of {view.owner} to {person}, and end the access of {view.owner}?",
            yes=yes,
            refused="nothing was transferred",
        )
        # Use one key for all attempts, because a repeat of a lost call must not undo a later change.
        key, query = secrets.token_hex(16), {"life": view.life or None}
        path = f"{environment_path(name)}/transfer"
        done = api.call("POST", path, query=query, body={"to": person}, key=key)
        try:
            report_change(api, done, [person, view.owner], no_wait=no_wait, output=output)
        except CliError as error:
            if error.code != Code.NOT_FOUND:
                raise
            # The caller was its owner and is in none of its teams, so it is not theirs to see any more.
            report_change(api, done, [], no_wait=True, output=output)


def report_change(
    api: "Api", done: dict[str, Any], people: list[str], *, no_wait: bool, output: Output
) -> None:
    """Wait until all systems agree about the people, and report it; raise CliError if they refuse one."""
    view = None if no_wait else _wait(api, done, {person.lower() for person in people})
    if output is Output.JSON:
        print_json(done if view is None else to_json(view))
        return
    if view and view.ended:
        raise CliError(Code.FAILED, f"{view.name} has ended meanwhile")
    print_line(done["message"])


def _wait(api: "Api", done: dict[str, Any], people: set[str]) -> EnvironmentView:
    shown: set[str] = set()

    def is_done(view: EnvironmentView) -> bool:
        pending = {*view.access.granting, *view.access.revoking} if view.access else set()
        # Without a worker, no steps are shown, and what is pending is not known.
        return view.ended or (bool(view.steps) and not pending & people)

    def tell(view: EnvironmentView) -> None:
        if view.access and (problem := view.access.problem) and problem.cause not in shown:
            shown.add(problem.cause)
            print_note(f"Not in all systems yet: {problem.cause} {problem.remedy}".strip())

    # As for a program: the table of steps says nothing about people.
    view = follow(api, done["name"], done["life"], is_done, Output.JSON, on_view=tell)
    return _require_known(done, view, people)


def _require_known(done: dict[str, Any], view: EnvironmentView, people: set[str]) -> EnvironmentView:
    """Return the view; raise CliError if a person was removed again, for whatever reason."""
    before = done.get("environment") or {}
    added = people & set(before.get("collaborators", ()))
    if not view.ended and (missing := sorted(added - {*view.collaborators, view.owner})):
        unknown = {f"removed {person}" for person in missing}
        if not any(entry.actor == MOORAGE_ACTOR and entry.action in unknown for entry in view.audit_log):
            message = f"{', '.join(missing)} was added, and removed again at the same time"
            raise CliError(Code.FAILED, message, next_steps=[f"see by whom: moorage history {view.name}"])
        raise CliError(
            Code.FAILED,
            f"{', '.join(missing)} could not be added: the directory does not know this person",
            next_steps=["correct the address, or ask the platform team for an account"],
        )
    return view


def _print_people(view: EnvironmentView, output: Output) -> None:
    document = to_json(view)
    if output is Output.JSON:
        print_json({key: document[key] for key in ("name", "life", "owner", "collaborators", "access")})
        return
    pending = dict.fromkeys(view.access.granting if view.access else (), "being added")
    rows = [[view.owner, "owner", ""]]
    rows += [[person, "collaborator", pending.get(person, "")] for person in view.collaborators]
    rows += [[person, "", "being removed"] for person in (view.access.revoking if view.access else ())]
    print_table(["person", "is", ""], rows, empty="")
    if view.access and (problem := view.access.problem):
        print_note(f"Not in all systems yet: {problem.cause} {problem.remedy}".strip())
