"""What surrounds a command: the client of the API, and the report of its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from starter.cli.connection_options import connection_options_of
from starter.cli.errors import CliError, Output

if TYPE_CHECKING:
    from starter.cli.client.api import Api


@contextmanager
def report_errors(output: Output, *, logs: bool = False) -> Iterator[None]:
    """Show errors in the block in the command's output format, and exit with their code.

    With `logs`, for a command that is a server with a log, an unexpected error is also logged.
    """
    try:
        yield
    except CliError as error:
        error.show(output)
        raise click.exceptions.Exit(error.code) from None
    except Exception as error:
        if _is_for_run(error):
            raise
        if logs:
            import structlog

            if structlog.is_configured():
                structlog.get_logger("moorage").error("ended by a bug of Moorage", exc_info=error)
        from starter.cli.crash_report import report_crash

        failed = report_crash(error)
        failed.show(output)
        raise click.exceptions.Exit(failed.code) from None


def _is_for_run(error: Exception) -> bool:
    """Return whether `app.run` handles the error: Click's ends of a command, and a closed output."""
    return isinstance(error, click.Abort | click.exceptions.Exit | click.ClickException | BrokenPipeError)


@contextmanager
def api_session(ctx: click.Context, output: Output) -> Iterator["Api"]:
    """Open the API client for the duration of a command."""
    from starter.cli.client.api import Api
    from starter.cli.client.connection import find_connection

    with (
        report_errors(output),
        Api(find_connection(connection_options_of(ctx)), quiet=output is Output.JSON) as api,
    ):
        yield api
