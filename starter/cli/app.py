"""The `moorage` command: it assembles the commands, and is the only place that ends the process."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from starter.cli.client.connection import Options
from starter.cli.commands import capacity, environments, expiry, kubeconfig, queries, templates
from starter.cli.crash_report import crash
from starter.cli.errors import CliError, Code, Output
from starter.cli.global_options import default_output, everywhere
from starter.cli.operator import OperatorVerbs, add_operator_verbs
from starter.cli.output.printing import print_line
from starter.cli.output.streams import prepare_streams

_EPILOG = (
    "Exit codes, for all commands: 0 done, 1 failed or refused, 2 bad input or an unanswered question, "
    "3 not found, 4 not allowed, 5 unreachable, 70 a fault of Moorage, 130 interrupted."
)


def build(verbs: OperatorVerbs) -> typer.Typer:
    """Build the command with all its subcommands."""
    app = typer.Typer(
        name="moorage",
        help="A Kubernetes cluster of your own: whole and usable, or gone without a trace.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        ctx: typer.Context,
        url: Annotated[
            str | None,
            typer.Option(help="Where the API is; else MOORAGE_URL, or a stack that runs here."),
        ] = None,
        token_file: Annotated[
            Path | None,
            typer.Option(help="File with your token; else MOORAGE_TOKEN or MOORAGE_TOKEN_FILE."),
        ] = None,
        output: Annotated[
            str | None,
            typer.Option("--output", "-o", help="How to answer, as after the command: table, json, …"),
        ] = None,
        ca_file: Annotated[
            Path | None,
            typer.Option(
                help="PEM file with the authorities that the API's certificate may be signed by; "
                "else MOORAGE_CA_FILE, SSL_CERT_FILE, or those of the system."
            ),
        ] = None,
        _version: Annotated[
            bool,
            typer.Option("--version", is_eager=True, callback=_tell_version, help="Say its version."),
        ] = False,
    ) -> None:
        ctx.obj = Options(url, token_file, ca_file)
        if output:
            ctx.default_map = default_output(ctx.command, output)

    panel = "For developers"
    app.add_typer(templates.group(verbs.on_hosts), name="templates", rich_help_panel=panel)
    app.command("request", rich_help_panel=panel)(environments.request)
    app.command("list", rich_help_panel=panel)(queries.list_environments)
    app.command("show", rich_help_panel=panel)(queries.show)
    app.command("watch", rich_help_panel=panel)(environments.watch)
    app.command("kubeconfig", rich_help_panel=panel)(kubeconfig.kubeconfig)
    app.command("extend", rich_help_panel=panel)(expiry.extend)
    app.command("history", rich_help_panel=panel)(expiry.history)
    app.command("capacity", rich_help_panel=panel)(capacity.capacity)
    app.command("delete", rich_help_panel=panel)(environments.delete)
    app.command("cancel", rich_help_panel=panel)(environments.cancel)
    panel = "For the platform team"
    app.command("teardown", rich_help_panel=panel)(environments.teardown)
    app.command("freeze", rich_help_panel=panel)(expiry.freeze)
    app.command("thaw", rich_help_panel=panel)(expiry.thaw)
    app.command("sweep", rich_help_panel=panel)(expiry.sweep)
    add_operator_verbs(app, verbs)
    return app


def run(verbs: OperatorVerbs) -> None:
    """Run the command of the arguments and exit with its code; show no error as a traceback."""
    prepare_streams()
    code: object = 0
    try:
        try:
            code = everywhere(typer.main.get_command(build(verbs)))
        finally:
            sys.stdout.flush()
    except SystemExit as end:
        # The reader of our output has closed it. Typer then replaces stdout by this wrapper and exits with a
        # failure, but it is none.
        has_reader = type(sys.stdout).__name__ != "PacifyFlushWrapper"
        code = end.code if has_reader else Code.OK
    except (KeyboardInterrupt, typer.Abort):
        code = Code.INTERRUPTED
    except BaseException as error:  # The CancelledError of a task is not an Exception.
        code = _ended_by(error)
    leave(code if isinstance(code, int) else int(code is not None))


def _ended_by(error: BaseException) -> int:
    """Show the error that ended the command, and return its exit code."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Code.OK
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF):
        failed = CliError(Code.FAILED, f"the output cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    else:
        failed = crash(error)
    failed.show(Output.TABLE)
    return failed.code


def leave(code: int) -> None:
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


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print_line(f"moorage {version('moorage')}")
        except PackageNotFoundError:
            print_line("moorage, from a checkout that is not installed")
        raise typer.Exit
