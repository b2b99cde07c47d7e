"""The `moorage` command: the tree of its commands, and the only place that ends the process."""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from starter.cli.completion import complete_context, one_of
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code, Output
from starter.cli.extras import Extra
from starter.cli.lazy_group import CommandEntry, LazyGroup, group_class
from starter.cli.terminal.program_name import program_name
from starter.cli.terminal.streams import prepare_streams
from starter.cli.terminal.text import print_line
from starter.cli.terminal.verbosity import set_verbose

_EPILOG = (
    "Exit codes of all commands: 0 done, 1 failed or refused, 2 bad input or a question without an answer, "
    "3 not found, 4 not allowed, 5 unreachable, 70 a bug of Moorage, 130 interrupted."
)
_OPERATOR_SECTION = "Operator commands"
_PLATFORM_SECTION = "Platform team commands"
_COMMANDS = "starter.cli.commands"

#: The commands for developers and for the platform team: clients of the API.
API_COMMANDS = (
    CommandEntry(
        "templates",
        f"{_COMMANDS}.templates:templates",
        "List the templates that you can request.",
    ),
    CommandEntry("request", f"{_COMMANDS}.environments:request", "Request an environment and wait for it."),
    CommandEntry("list", f"{_COMMANDS}.queries:list_environments", "List environments and what blocks them."),
    CommandEntry("show", f"{_COMMANDS}.queries:show", "Show the state of an environment."),
    CommandEntry(
        "watch", f"{_COMMANDS}.environments:watch", "Watch environments until they are ready or gone."
    ),
    CommandEntry("kubeconfig", f"{_COMMANDS}.kubeconfig:kubeconfig", "Get the kubeconfig of an environment."),
    CommandEntry(
        "credential", f"{_COMMANDS}.credential:credential", "Print a short-lived credential for kubectl."
    ),
    CommandEntry("extend", f"{_COMMANDS}.expiry:extend", "Move the end of an environment to a later time."),
    CommandEntry("sleep", f"{_COMMANDS}.sleep:sleep", "Put environments to sleep."),
    CommandEntry("wake", f"{_COMMANDS}.sleep:wake", "Wake environments."),
    CommandEntry(
        "snapshot", f"{_COMMANDS}.snapshots:snapshot", "Take a snapshot of the objects in an environment."
    ),
    CommandEntry("restore", f"{_COMMANDS}.snapshots:restore", "Restore a snapshot of an environment."),
    CommandEntry(
        "collaborators",
        f"{_COMMANDS}.membership:collaborators",
        "Show, add or remove the collaborators of an environment.",
    ),
    CommandEntry("transfer", f"{_COMMANDS}.membership:transfer", "Give an environment to a team mate."),
    CommandEntry("history", f"{_COMMANDS}.expiry:history", "Show the history of a name."),
    CommandEntry("capacity", f"{_COMMANDS}.capacity:capacity", "Show the free capacity and your quotas."),
    CommandEntry("pools", f"{_COMMANDS}.capacity:pools", "Show the warm pools of templates."),
    CommandEntry("seat", f"{_COMMANDS}.bookings:seat", "Take the seat of an event, with its code."),
    CommandEntry("delete", f"{_COMMANDS}.environments:delete", "Delete environments."),
    CommandEntry("cancel", f"{_COMMANDS}.environments:cancel", "Cancel the creation of an environment."),
    CommandEntry(
        "resize", f"{_COMMANDS}.template_change:resize", "Change an environment to another template in place."
    ),
    CommandEntry(
        "upgrade", f"{_COMMANDS}.template_change:upgrade", "Change it to the newer version of its template."
    ),
    CommandEntry("login", f"{_COMMANDS}.sign_in:login", "Sign in to an installation."),
    CommandEntry("logout", f"{_COMMANDS}.sign_in:logout", "Sign out of an installation."),
    CommandEntry("whoami", f"{_COMMANDS}.sign_in:whoami", "Show who you are, and until when."),
    CommandEntry(
        "context",
        f"{_COMMANDS}.contexts:context",
        "List and choose the installations that you use.",
        calls_api=False,
    ),
    CommandEntry(
        "completion",
        f"{_COMMANDS}.completion:completion",
        "Print a shell's completion script.",
        calls_api=False,
    ),
    CommandEntry(
        "teardown",
        f"{_COMMANDS}.environments:teardown",
        "Show, resume or force a teardown.",
        _PLATFORM_SECTION,
    ),
    CommandEntry("book", f"{_COMMANDS}.bookings:book", "Book room for an event.", _PLATFORM_SECTION),
    CommandEntry(
        "bookings",
        f"{_COMMANDS}.bookings:bookings",
        "Show the bookings, and who has come.",
        _PLATFORM_SECTION,
    ),
    CommandEntry("freeze", f"{_COMMANDS}.expiry:freeze", "Freeze all ends.", _PLATFORM_SECTION),
    CommandEntry("thaw", f"{_COMMANDS}.expiry:thaw", "End the freeze.", _PLATFORM_SECTION),
    CommandEntry(
        "leavers", f"{_COMMANDS}.expiry:leavers", "Show and confirm who has left.", _PLATFORM_SECTION
    ),
    CommandEntry(
        "reconcile",
        f"{_COMMANDS}.reconcile:reconcile",
        "Adopt or undo what no environment owns.",
        _PLATFORM_SECTION,
    ),
    CommandEntry("sweep", f"{_COMMANDS}.expiry:sweep", "Run the expiry sweep now.", _PLATFORM_SECTION),
)


def operator_command(
    name: str, command: str | click.Command, summary: str, extra: Extra = Extra.SERVER
) -> CommandEntry:
    """Return the entry of a command that runs where the settings are."""
    return CommandEntry(name, command, summary, _OPERATOR_SECTION, calls_api=False, extra=extra)


#: The operator's commands that need neither the worker nor the embedded stack, which the entry module adds.
OPERATOR_COMMANDS = (
    operator_command("api", f"{_COMMANDS}.servers:api", "Run the HTTP API."),
    operator_command(
        "codec-server", f"{_COMMANDS}.servers:codec_server", "Run the codec server for Temporal's Web UI."
    ),
    operator_command("setup", f"{_COMMANDS}.setup:setup", "Set up an installation."),
    operator_command("doctor", f"{_COMMANDS}.setup:doctor", "Check an installation."),
)


class _RootGroup(LazyGroup):
    """The command `moorage`, which shows usage errors as JSON if the arguments request JSON."""

    def main(
        self, args: Sequence[str] | None = None, __prog_name: str | None = None, *_: Any, **extra: Any
    ) -> Any:
        """Run the command of the arguments, and exit with its code.

        With `standalone_mode=False`, return the code; an interrupt is then raised as `click.Abort`.
        """
        standalone = extra.pop("standalone_mode", True)
        extra.pop("prog_name", None)
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(arguments, prog_name=program_name(), standalone_mode=False, **extra)
        except click.ClickException as error:
            if _requests_json(arguments) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
                CliError(Code.BAD_INPUT, error.format_message()).show(Output.JSON)
            else:
                error.show()
            code = Code.BAD_INPUT
        except click.Abort:
            if not standalone:
                raise
            code = Code.INTERRUPTED
        code = code if isinstance(code, int) else Code.OK
        if standalone:
            sys.exit(code)
        return code


def build(more: Iterable[CommandEntry] = ()) -> click.Group:
    """Build the command with all its subcommands, and `more` for the operator.

    Click's `CliRunner` can run the result in a test, with the same output and exit codes as `run`.
    """
    path = click.Path(path_type=Path)
    return group_class((*API_COMMANDS, *more, *OPERATOR_COMMANDS), _RootGroup)(
        name="moorage",
        callback=_keep_connection_options,
        help="Virtual Kubernetes clusters on request: complete and usable, or removed without a trace.",
        epilog=_EPILOG,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        params=[
            click.Option(["--url"], help="URL of the API. Default: MOORAGE_URL, or that of the context."),
            click.Option(
                ["--context"],
                help="Context to use instead of the current one, MOORAGE_URL and MOORAGE_TOKEN.",
                shell_complete=complete_context,
            ),
            click.Option(
                ["--token-file"],
                type=path,
                help="File with your token. Default: MOORAGE_TOKEN, MOORAGE_TOKEN_FILE, or your sign-in.",
            ),
            click.Option(
                ["--ca-file"],
                type=path,
                help="PEM file with the authorities to trust for the API's certificate. "
                "Default: MOORAGE_CA_FILE, SSL_CERT_FILE, or those of the system.",
            ),
            click.Option(
                ["--output", "-o"],
                help="Output format, as after the command: table, json, …",
                shell_complete=one_of(*Output),
            ),
            click.Option(
                ["--verbose", "-v"],
                is_flag=True,
                help="Show each call of the API on standard error, with the id of its trace.",
            ),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Show the version and exit.",
            ),
        ],
    )


@click.pass_context
def _keep_connection_options(
    ctx: click.Context,
    url: str | None,
    context: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    output: str | None,
    verbose: bool,
) -> None:
    # The option --output of each command reads `output`.
    del output
    set_verbose(verbose)
    ctx.obj = ConnectionOptions(url, token_file, ca_file, context)


def run(more: Iterable[CommandEntry] = ()) -> None:
    """Run the command of the arguments and exit with its code; show no error as a traceback."""
    prepare_streams()
    code: object = 0
    try:
        try:
            code = build(more).main(standalone_mode=False)
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        # The reader of our output has closed it. Click then replaces stdout by this wrapper and exits with a
        # failure, but it is none.
        has_reader = not type(sys.stdout).__name__.endswith("PacifyFlushWrapper")
        code = end.code if has_reader else Code.OK
    except (KeyboardInterrupt, click.Abort):
        code = Code.INTERRUPTED
    except BaseException as error:  # The CancelledError of a task is not an Exception.
        code = _show_unexpected(error)
    exit_process(code if isinstance(code, int) else int(code is not None))


def _show_unexpected(error: BaseException) -> int:
    """Show the error that ended the command, and return its exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Code.OK
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF):
        failed = CliError(Code.FAILED, f"cannot write the output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    else:
        from starter.cli.crash_report import report_crash

        failed = report_crash(error)
    failed.show(Output.TABLE)
    return failed.code


def exit_process(code: int) -> None:
    """End the process with this code, whatever its libraries do at exit.

    A short process that has loaded Temporal's SDK can abort while Python finalizes, after all its work:
    github.com/temporalio/sdk-python/issues/300. In that case this function skips Python's finalization.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if "temporalio" in sys.modules:
        os._exit(code)
    sys.exit(code)


def _requests_json(arguments: Sequence[str]) -> bool:
    """Return whether the arguments request JSON, as far as invalid arguments show it."""
    flags = ("-o", "--output")
    joined = {"-ojson", "--output=json"}
    pairs = pairwise(arguments)
    return bool(joined & set(arguments)) or any(flag in flags and value == "json" for flag, value in pairs)


def _print_version(ctx: click.Context, _param: click.Parameter, is_set: bool) -> None:
    if not is_set or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        print_line(f"moorage {version('moorage')}")
    except PackageNotFoundError:
        print_line("moorage, from a checkout that is not installed")
    ctx.exit()
