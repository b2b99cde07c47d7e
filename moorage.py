"""The `moorage` command, and the two subcommands that run other parts than the ways in: `up` and `worker`.

Everything is imported when a command needs it: the developer's commands need none of it.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if os.getpid() == 1:
    # Process 1 of a container has no default action for signals, so it would ignore SIGTERM during the
    # imports. Commands that clean up set handlers later.
    for _number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(_number, lambda number, _frame: os._exit(128 + number))

import click

from starter.cli.app import operator_command, run
from starter.cli.arguments.options import examples, output_option
from starter.cli.command_context import report_errors
from starter.cli.completion import complete_host
from starter.cli.errors import CliError, Code, Output
from starter.cli.extras import Extra

if TYPE_CHECKING:
    from embedded.stack.stack import Stack

#: Settings of the caller that `moorage up` passes to the stack: those that neither locate a system nor name a
#: secret, because the stack has its own systems and secrets.
_PASSED_SETTINGS = (
    "MOORAGE_TEMPLATES",
    "MOORAGE_LOG__",
    "MOORAGE_QUOTAS__",
    "MOORAGE_CAPACITY__",
    "MOORAGE_SWEEP__",
    "MOORAGE_TIMEOUTS__",
    "MOORAGE_WORKER__",
    "MOORAGE_NOTICES__",
)
#: Variables that `moorage up` itself uses, or that only the other commands use.
_KNOWN_VARIABLES = (
    "MOORAGE_URL",
    "MOORAGE_TOKEN",
    "MOORAGE_TOKEN_FILE",
    "MOORAGE_STATE",
    "MOORAGE_API__PORT",
)


_port = click.IntRange(1, 65535)


@click.command(epilog=examples("moorage up", "moorage up --fresh --api-port 7400"))
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=".moorage",
    envvar="MOORAGE_STATE",
    show_default=True,
    show_envvar=True,
    help="Folder for the state.",
)
@click.option("--fresh", is_flag=True, help="Remove the state first.")
@click.option("--api-port", type=_port, help="Port of the API.")
@click.option("--ui-port", type=_port, help="Port of Temporal's Web UI.")
@click.option("--temporal-port", type=_port, help="Port of the Temporal server.")
@output_option()
def up(
    state: Path,
    fresh: bool,
    api_port: int | None,
    ui_port: int | None,
    temporal_port: int | None,
    output: Output,
) -> None:
    """Run a complete stack on this machine until Ctrl-C, with stand-ins for the outside systems.

    The default ports are those of the last run, or free ones. With --output json, standard output has one
    line of JSON with all addresses when the stack is ready, and everything else is on standard error.
    """
    with report_errors(output):
        import asyncio
        import json

        from embedded.stack.stack import Options, StackError, addresses, describe
        from embedded.stack.stack import up as run_stack
        from starter.cli.client.contexts import add_stack, remove_stack

        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_SETTINGS)}
        port = os.environ.get("MOORAGE_API__PORT", "")
        options = Options(
            fresh=fresh,
            api_port=api_port or (int(port) if port.isdecimal() else None),
            environment=passed,
            ui_port=ui_port,
            temporal_port=temporal_port,
        )
        is_table = output is Output.TABLE
        added: list[Path] = []

        def print_progress(text: str) -> None:
            print(text, file=sys.stdout if is_table else sys.stderr, flush=True)

        def print_addresses(stack: "Stack") -> None:
            try:
                name = add_stack(stack.folder, stack.api_url).name
                added.append(stack.folder)
            except CliError as error:
                # The stack runs nevertheless: commands find it by MOORAGE_STATE.
                name = f"NONE: {error}"
            # Last, because programs take the addresses for the sign that commands find the stack.
            print_progress(f"{'context':<16} {name}")
            print(describe(stack) if is_table else json.dumps(addresses(stack)), flush=True)

        ignored = [
            name
            for name in os.environ
            if name.startswith("MOORAGE_") and name not in (*_KNOWN_VARIABLES, *passed)
        ]
        if ignored:
            print_progress(f"Ignored, because this stack has its own: {', '.join(sorted(ignored))}")
        try:
            asyncio.run(run_stack(state, options, print_progress, _set_up_stack, print_addresses))
        except StackError as error:
            sentence, *log = str(error).splitlines()
            steps = ["start it again with moorage up: its environments go on"] if added else []
            raise CliError(Code.FAILED, sentence, lines=log, next_steps=steps) from None
        finally:
            for folder in added:
                with suppress(CliError):
                    remove_stack(folder)


async def _set_up_stack(stack: "Stack") -> str:
    """Set up the stack with the command that a platform team uses, and describe the result."""
    import asyncio

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "moorage", "setup",
        env=stack.env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        _, problem = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    lines = problem.decode(errors="replace").strip().splitlines()
    return f"NOT COMPLETE: {lines[0] if lines else ''}" if process.returncode else "by moorage setup"


@click.command(
    epilog=examples(
        "MOORAGE_CONFIG=moorage.toml moorage worker", "MOORAGE_CONFIG=host-eu.toml moorage worker --host eu"
    )
)
@click.option(
    "--host",
    shell_complete=complete_host,
    help="Run only the work on this host, which has its own worker: see HOSTS__<name>__OWN_WORKER.",
)
@output_option()
def worker(host: str | None, output: Output) -> None:
    """Run a worker until SIGTERM, with the settings of the environment.

    With --host, it needs the settings INSTALLATION, ENCRYPTION and those of that host, and no others.
    """
    with report_errors(output, logs=True):
        if host is not None:
            _run_host_worker(host)
            return
        import asyncio

        from temporalio.client import Client
        from temporalio.service import RPCError

        from starter.cli.arguments.settings_validation import read_settings
        from starter.expiry.schedules import reconcile
        from starter.placement.reservations import Reservations
        from worker.connection import NotConnected
        from worker.runner import run_worker
        from worker.settings.loading import load_settings
        from worker.settings.sources import SettingsError

        settings = read_settings(load_settings)

        async def prepare(client: Client) -> None:
            try:
                await reconcile(client, settings.sweep, settings.reconcile)
                await Reservations(client).ensure_started()
            except RPCError as error:
                # Do not run without the schedule: no environment would ever end.
                raise NotConnected(f"cannot create the schedules: {error.message}") from error

        try:
            asyncio.run(run_worker(settings, prepare=prepare))
        except NotConnected as error:
            raise CliError(Code.UNREACHABLE, str(error)) from None
        except (SettingsError, ValueError) as error:
            raise CliError(Code.BAD_INPUT, str(error)) from None


def _run_host_worker(host: str) -> None:
    import asyncio

    from starter.cli.arguments.settings_validation import read_settings
    from worker.connection import NotConnected
    from worker.runner import run_host_worker
    from worker.settings.loading import load_host_worker_settings
    from worker.settings.sources import SettingsError

    settings = read_settings(lambda: load_host_worker_settings(host))
    try:
        asyncio.run(run_host_worker(settings, host))
    except NotConnected as error:
        raise CliError(Code.UNREACHABLE, str(error)) from None
    except (SettingsError, ValueError) as error:
        raise CliError(Code.BAD_INPUT, str(error)) from None


#: The operator's commands that import the embedded stack or the worker, which the ways in may not.
COMMANDS = (
    operator_command("up", up, "Run a complete stack on this machine.", Extra.EMBEDDED),
    operator_command("worker", worker, "Run a worker."),
)


def main() -> None:
    """Run the command that the arguments name; never return."""
    run(COMMANDS)


def complete_for_kubectl() -> None:
    """Print what completes the arguments, which are the words after `kubectl moorage`, for kubectl."""
    from starter.cli.kubectl_completion import print_completions

    print_completions(COMMANDS, sys.argv[1:])


if __name__ == "__main__":
    # `python -m moorage` has the same name in its messages as the command.
    sys.argv[0] = "moorage"
    main()
