"""The operator's commands: their names and options. The entry module provides what they do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.context import OutputOption, failures
from starter.cli.errors import Output
from starter.setup.areas import Area

if TYPE_CHECKING:
    from starter.cli.commands.templates import OnHosts


@dataclass(frozen=True)
class UpOptions:
    """The options of `moorage up`. A port that is None is that of the last run, or a free port."""

    folder: Path
    fresh: bool
    api_port: int | None
    ui_port: int | None
    temporal_port: int | None
    output: Output


@dataclass(frozen=True)
class ServerOptions:
    """The options of `moorage api` or `moorage codec-server`; None means the value of the settings."""

    bind: str | None
    port: int | None


@dataclass(frozen=True)
class SetupOptions:
    """The options of `moorage setup`. If `only` is empty, it handles all areas."""

    dry_run: bool
    only: Sequence[Area]
    output: Output


@dataclass(frozen=True)
class OperatorVerbs:
    """The functions of the operator's commands. Each returns at the end, or raises CliError."""

    up: Callable[[UpOptions], None]
    worker: Callable[[], None]
    api: Callable[[ServerOptions], None]
    codec_server: Callable[[ServerOptions], None]
    setup: Callable[[SetupOptions], None]
    doctor: Callable[[Output], None]
    on_hosts: "OnHosts"


def add_operator_verbs(app: typer.Typer, verbs: OperatorVerbs) -> None:
    """Add `up`, `worker`, `api`, `codec-server`, `setup` and `doctor` to the commands."""
    panel = "For the operator"

    @app.command(rich_help_panel=panel)
    def up(
        state: Annotated[
            Path, typer.Option(envvar="MOORAGE_STATE", help="Folder in which the state is kept.")
        ] = Path(".moorage"),
        fresh: Annotated[bool, typer.Option("--fresh", help="Start over: remove the state first.")] = False,
        api_port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API.")] = None,
        ui_port: Annotated[
            int | None, typer.Option(min=1, max=65535, help="Port of Temporal's Web UI.")
        ] = None,
        temporal_port: Annotated[
            int | None, typer.Option(min=1, max=65535, help="Port of the Temporal server.")
        ] = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Run all of Moorage on this machine, with stand-ins for the outside systems, until Ctrl-C.

        Without ports: those of the last run, or free ones. With --output json: once it runs, where
        everything is as one line of JSON on standard output, and all else on standard error.

        \b
        Examples: moorage up
                  moorage up --fresh --api-port 7400
        """
        with failures(output):
            verbs.up(UpOptions(state, fresh, api_port, ui_port, temporal_port, output))

    @app.command(rich_help_panel=panel)
    def worker(output: OutputOption = Output.TABLE) -> None:
        """Run a worker, with the settings of the environment, until SIGTERM.

        \b
        Example: MOORAGE_CONFIG=moorage.toml moorage worker
        """
        with failures(output, logs=True):
            verbs.worker()

    @app.command(rich_help_panel=panel)
    def api(
        bind: Annotated[str | None, typer.Option(help="Address to listen on, over the settings.")] = None,
        port: Annotated[
            int | None, typer.Option(min=1, max=65535, help="Port to listen on, over the settings.")
        ] = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Run the HTTP API, with the settings of the environment, until SIGTERM.

        \b
        Example: MOORAGE_CONFIG=moorage.toml moorage api --port 7400
        """
        with failures(output, logs=True):
            verbs.api(ServerOptions(bind, port))

    @app.command("codec-server", rich_help_panel=panel)
    def codec_server(
        bind: Annotated[str | None, typer.Option(help="Address to listen on, over the settings.")] = None,
        port: Annotated[
            int | None, typer.Option(min=1, max=65535, help="Port to listen on, over the settings.")
        ] = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Decrypt for Temporal's Web UI, for the platform team, until SIGTERM.

        It needs the settings ENCRYPTION, CODEC_SERVER and API__TOKENS_FILE, and no others.

        \b
        Example: MOORAGE_CONFIG=moorage.toml moorage codec-server --port 7401
        """
        with failures(output, logs=True):
            verbs.codec_server(ServerOptions(bind, port))

    @app.command(rich_help_panel=panel)
    def setup(
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
        ] = False,
        only: Annotated[
            list[Area] | None, typer.Option(help="See to this alone, and to what it needs; may be repeated.")
        ] = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Do what the platform team does once, and check that all of it is so. Again, it changes nothing.

        It makes the host project and its chart repositories in the control plane, and Temporal's namespace,
        search attributes and schedules; it shows by a throw-away group that groups can be kept; the rest it
        checks. What only a person can do is said with what to enter where.

        Exit code 0 if all is set up, 1 if something is not, 2 if the settings cannot be used.

        \b
        Examples: MOORAGE_CONFIG=moorage.toml moorage setup --dry-run
                  MOORAGE_CONFIG=moorage.toml moorage setup
                  moorage setup --only temporal
        """
        with failures(output):
            verbs.setup(SetupOptions(dry_run, only or [], output))

    @app.command(rich_help_panel=panel)
    def doctor(output: OutputOption = Output.TABLE) -> None:
        """Say whether all that `moorage setup` sees to is as it should be. Changes nothing.

        Exit code 0 if all is well, 5 if something is not, 2 if the settings cannot be used.

        \b
        Examples: MOORAGE_CONFIG=moorage.toml moorage doctor
                  moorage doctor --output json
        """
        with failures(output):
            verbs.doctor(output)
