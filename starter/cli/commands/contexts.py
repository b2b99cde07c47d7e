"""`moorage context`: the installations that you use, and which of them is the current one."""

from typing import TYPE_CHECKING, Any

import click

from starter.cli.arguments.options import examples, output_option
from starter.cli.command_context import report_errors
from starter.cli.completion import complete_context
from starter.cli.errors import Output
from starter.cli.lazy_group import CommandEntry, group_class
from starter.cli.output.formatting import print_note, print_table
from starter.cli.terminal.text import print_json

if TYPE_CHECKING:
    from starter.cli.client.contexts import Context

_MODULE = "starter.cli.commands.contexts"
_SUBCOMMANDS = (
    CommandEntry("list", f"{_MODULE}:list_contexts", "List the contexts.", calls_api=False),
    CommandEntry("use", f"{_MODULE}:use", "Make a context the current one.", calls_api=False),
    CommandEntry("remove", f"{_MODULE}:remove", "Sign out of a context and forget it.", calls_api=False),
)

context_argument = click.argument("name", shell_complete=complete_context)


@click.command(
    cls=group_class(_SUBCOMMANDS),
    invoke_without_command=True,
    epilog=examples("moorage context", "moorage context use test"),
)
@output_option()
@click.pass_context
def context(ctx: click.Context, output: Output) -> None:
    """List the installations that you have signed in to, and choose the current one.

    A stack of `moorage up` is the context local while it runs. MOORAGE_URL and MOORAGE_TOKEN win over
    contexts; `moorage --context NAME COMMAND` uses another one for one command.
    """
    if ctx.invoked_subcommand is None:
        _show(output)


@click.command(epilog=examples("moorage context list"))
@output_option()
def list_contexts(output: Output) -> None:
    """List the contexts; the current one has a star."""
    _show(output)


@click.command(epilog=examples("moorage context use test"))
@context_argument
@output_option()
def use(name: str, output: Output) -> None:
    """Make the context the current one."""
    with report_errors(output):
        from starter.cli.client.contexts import change_contexts, with_context

        contexts = change_contexts(lambda found: with_context(found, found.find(name)))
        chosen = contexts.by_name[name]
        if output is Output.JSON:
            print_json(_entry(chosen, is_current=True))
        else:
            print_note(f"{name} is the current context: {chosen.url}")


@click.command(epilog=examples("moorage context remove test"))
@context_argument
@output_option()
def remove(name: str, output: Output) -> None:
    """Sign out of the context and forget it."""
    with report_errors(output):
        from starter.cli.client.contexts import change_contexts, read_contexts, without_context
        from starter.cli.commands.sign_in import end_sign_in

        removed = read_contexts().find(name)
        if removed.stack is None:
            end_sign_in(removed)
        left = change_contexts(lambda found: without_context(found, name))
        if output is Output.JSON:
            print_json({"name": name, "current": left.current or None})
            return
        print_note(f"Removed the context {name}.")
        if not left.current and left.by_name:
            print_note("No context is the current one. Choose one:  moorage context use NAME")


def _show(output: Output) -> None:
    with report_errors(output):
        from starter.cli.client.contexts import read_contexts

        contexts = read_contexts()
        entries = [
            _entry(each, is_current=each.name == contexts.current) for each in contexts.by_name.values()
        ]
        if output is Output.JSON:
            print_json(entries)
            return
        rows = [
            [
                "*" if each["current"] else "",
                each["name"],
                each["url"],
                each["person"] or "",
                each["credential"],
            ]
            for each in entries
        ]
        none = "There is no context. Sign in with:  moorage login URL"
        print_table(["", "name", "url", "person", "credential"], rows, empty=none)


def _entry(each: "Context", *, is_current: bool) -> dict[str, Any]:
    from starter.cli.client.contexts import stack_connection
    from starter.cli.client.credentials.store import load_tokens

    if each.stack is not None:
        credential = "local stack" if stack_connection(each.stack) else "local stack that does not run"
    else:
        tokens = load_tokens(each)
        credential = f"sign-in at {tokens.issuer}" if tokens else "signed out"
    return {
        "name": each.name,
        "url": each.url,
        "person": each.person or None,
        "current": is_current,
        "credential": credential,
    }
