"""`moorage templates`: the templates that a developer can request."""

import click

from starter.cli.arguments.options import examples, output_option, template_argument
from starter.cli.client.api_paths import template_path
from starter.cli.command_context import api_session
from starter.cli.errors import Output
from starter.cli.extras import Extra
from starter.cli.lazy_group import CommandEntry, group_class
from starter.cli.output.formatting import print_note, print_table
from starter.cli.output.templates import template_lines, template_row
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import parse
from starter.cli.views.templates import TemplateList, TemplateView

_SUBCOMMANDS = (
    CommandEntry("show", "starter.cli.commands.templates:show", "Show the details of a template."),
    CommandEntry(
        "check",
        "starter.cli.commands.template_check:check",
        "Check the files of templates.",
        calls_api=False,
        extra=Extra.SERVER,
    ),
    CommandEntry(
        "try",
        "starter.cli.commands.template_trial:try_template",
        "Create an environment of it, use it, and remove it.",
    ),
)


@click.command(
    cls=group_class(_SUBCOMMANDS), invoke_without_command=True, epilog=examples("moorage templates")
)
@output_option()
@click.pass_context
def templates(ctx: click.Context, output: Output) -> None:
    """List the templates that you can request."""
    if ctx.invoked_subcommand:
        return
    with api_session(ctx, output) as api:
        answer = api.call("GET", "templates")
        if output is Output.JSON:
            print_json(answer["templates"])
            return
        listed = parse(answer, TemplateList)
        columns = ("name", "kubernetes", "size", "time to live", "description")
        print_table(
            columns, map(template_row, listed.templates), empty="There is no template that you can request."
        )
        if listed.remark:
            print_note(listed.remark)


@click.command(epilog=examples("moorage templates show small"))
@template_argument
@output_option()
@click.pass_context
def show(ctx: click.Context, template: str, output: Output) -> None:
    """Show the details of a template."""
    with api_session(ctx, output) as api:
        answer = api.call("GET", template_path(template))
        if output is Output.JSON:
            print_json(answer)
            return
        for line in template_lines(parse(answer, TemplateView)):
            print_line(line)
