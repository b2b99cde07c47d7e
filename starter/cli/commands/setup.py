"""The commands that prepare and check an installation: `moorage setup` and `moorage doctor`."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import click

from starter.cli.arguments.options import EnumChoice, dry_run_option, examples, output_option
from starter.cli.command_context import report_errors
from starter.cli.completion import complete_host
from starter.cli.errors import CliError, Code, Output
from starter.setup.areas import Area

if TYPE_CHECKING:
    from starter.cli.output.setup_results import SetupProgress
    from starter.setup.check import Result, SetupCheck
    from worker.settings.models import HostWorkerSettings, Settings


@click.command(
    epilog=examples(
        "MOORAGE_CONFIG=moorage.toml moorage setup --dry-run",
        "MOORAGE_CONFIG=moorage.toml moorage setup",
        "moorage setup --only temporal",
    )
)
@dry_run_option
@click.option(
    "--only",
    type=EnumChoice(Area),
    multiple=True,
    help="Handle only this area and what it needs. Repeatable.",
)
@output_option()
def setup(dry_run: bool, only: tuple[Area, ...], output: Output) -> None:
    """Set up an installation, and check it. A second run changes nothing.

    It creates the host project and its chart repositories in the control plane, and Temporal's namespace,
    search attributes and schedules. With a temporary group, it checks that groups can be managed. It checks
    all other parts, and describes what an administrator has to do by hand.

    Exit code 0 if everything is set up, 1 if a part is not, 2 if the settings are not valid.
    """
    with report_errors(output):
        import sys

        from starter.catalogue.loader import load_catalogue
        from starter.cli.arguments.settings_validation import read_settings
        from starter.cli.output.setup_results import (
            SetupProgress,
            print_complete,
            print_setup_json,
            require_complete,
        )
        from worker.settings.loading import load_settings

        settings = read_settings(load_settings)
        is_table = output is Output.TABLE
        progress = SetupProgress(sys.stdout) if is_table else None
        results = _run_checks(settings, only, repair=not dry_run, progress=progress)
        if not is_table:
            print_setup_json(results, dry_run=dry_run)
        require_complete(results, dry_run=dry_run)
        if is_table:
            # With --only, the catalogue was not checked, and can have problems.
            offered = [] if only else load_catalogue(settings.templates).offered_to([], everything=True)
            print_complete(results, [template.name for template in offered])


@click.command(
    epilog=examples(
        "MOORAGE_CONFIG=moorage.toml moorage doctor",
        "moorage doctor --output json",
        "MOORAGE_CONFIG=host-eu.toml moorage doctor --host eu",
    )
)
@click.option(
    "--host",
    shell_complete=complete_host,
    help="Check only what the worker beside this host needs, with that worker's settings.",
)
@output_option()
def doctor(host: str | None, output: Output) -> None:
    """Check an installation, and change nothing.

    It checks everything that `moorage setup` handles, and what must be true while Moorage runs. Without
    settings, it checks the stack that runs on this machine.

    Exit code 0 if everything is well, 1 if a part is not, 2 if the settings are not valid.
    """
    with report_errors(output):
        from starter.cli.arguments.settings_validation import read_settings
        from starter.cli.client.contexts import stack_settings
        from starter.cli.output.setup_results import print_doctor
        from worker.settings.loading import load_host_worker_settings, load_settings

        if host is not None:
            name = host
            own = read_settings(lambda: load_host_worker_settings(name))
            print_doctor(_run(_host_checks(own, name), [], repair=False), output)
            return
        if not {"MOORAGE_INSTALLATION", "MOORAGE_CONFIG"} & set(os.environ):
            os.environ.update(stack_settings(os.environ))
        results = _run_checks(read_settings(load_settings), [], repair=False, running=True)
        print_doctor(results, output)


def _run_checks(
    settings: "Settings",
    only: "Sequence[Area]",
    *,
    repair: bool,
    running: bool = False,
    progress: "SetupProgress | None" = None,
) -> "list[Result]":
    """Run the checks of these areas, or of all, and show the results in `progress`.

    With `running`, it also runs the checks of what must be true while Moorage runs.
    """
    return _run(_all_checks(settings, running=running), only, repair=repair, progress=progress)


@asynccontextmanager
async def _all_checks(settings: "Settings", *, running: bool) -> "AsyncIterator[Sequence[SetupCheck]]":
    from starter.setup.setup_parts import all_checks
    from worker.client_factory import open_clients

    async with open_clients(settings) as clients:
        yield all_checks(settings, clients.rafay, clients.directory, clients.hosts, running=running)


@asynccontextmanager
async def _host_checks(settings: "HostWorkerSettings", host: str) -> "AsyncIterator[Sequence[SetupCheck]]":
    from starter.setup.setup_parts import host_checks
    from worker.client_factory import open_hosts

    async with AsyncExitStack() as closing:
        yield host_checks(settings, host, open_hosts(settings.hosts, closing)[host])


def _run(
    checks: "AbstractAsyncContextManager[Sequence[SetupCheck]]",
    only: "Sequence[Area]",
    *,
    repair: bool,
    progress: "SetupProgress | None" = None,
) -> "list[Result]":
    import asyncio
    import signal

    from starter.setup.check import chosen
    from starter.setup.runner import run_checks
    from worker.settings.sources import SettingsError

    async def run() -> "list[Result]":
        task = asyncio.current_task()
        if task is not None:  # At a signal, remove what was created temporarily, as for Ctrl-C.
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        async with checks as every:
            parts = chosen(every, only)
            if progress is None:
                return await run_checks(parts, repair=repair)
            with progress.show(parts):
                return await run_checks(parts, repair=repair, tell=progress.print_result)

    try:
        return asyncio.run(run())
    except SettingsError as error:
        raise CliError(Code.BAD_INPUT, "the settings are not valid", lines=error.problems) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise CliError(
            Code.INTERRUPTED, "interrupted: completed parts stay", next_steps=["run the command again"]
        ) from None
