"""The commands that run a server: `moorage api` and `moorage codec-server`."""

from typing import TYPE_CHECKING

import click

from starter.cli.arguments.options import examples, output_option
from starter.cli.command_context import report_errors
from starter.cli.errors import CliError, Code, Output

if TYPE_CHECKING:
    from pathlib import Path

    from worker.settings.models import Settings

_bind_option = click.option("--bind", help="Address to listen on. Default: that of the settings.")
_port_option = click.option(
    "--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: that of the settings."
)


@click.command(epilog=examples("MOORAGE_CONFIG=moorage.toml moorage api --port 7400"))
@_bind_option
@_port_option
@output_option()
def api(bind: str | None, port: int | None, output: Output) -> None:
    """Run the HTTP API until SIGTERM, with the settings of the environment."""
    with report_errors(output, logs=True):
        import asyncio

        from starter.cli.arguments.settings_validation import read_settings
        from starter.config_files.yaml_source import FilesUnusable
        from worker.connection import NotConnected
        from worker.settings.loading import load_api_settings
        from worker.settings.sources import SettingsError

        settings = read_settings(load_api_settings)
        try:
            asyncio.run(_serve_api(settings, bind or settings.api.bind, port or settings.api.port))
        except NotConnected as error:
            raise CliError(Code.UNREACHABLE, str(error)) from None
        except FilesUnusable as error:
            lines = list(map(str, error.problems))
            raise CliError(Code.BAD_INPUT, "files that the API needs have problems", lines=lines) from None
        except SettingsError as error:
            raise CliError(Code.BAD_INPUT, str(error)) from None
        except OSError as error:
            raise CliError(Code.FAILED, f"the API cannot listen: {error.strerror}") from None


async def _serve_api(settings: "Settings", bind: str, port: int) -> None:
    from worker.settings.sources import SettingsError
    from worker.tracing.process import exported_traces

    if settings.api.tokens_file is None:
        raise SettingsError(
            ["MOORAGE_API__TOKENS_FILE: the API needs it; see docs/how-to/access-and-tokens.md"]
        )
    # The traces end last: their end waits a moment for the endpoint.
    with exported_traces("moorage-api", settings.installation, settings.encryption.keyring.first):
        await _serve_with_clients(settings, settings.api.tokens_file, bind, port)


async def _serve_with_clients(settings: "Settings", tokens_file: "Path", bind: str, port: int) -> None:
    from starter.api.app import create_app
    from starter.api.server import serve
    from starter.page.pages import add_pages
    from worker.client_factory import open_clients
    from worker.connection import check_namespace, connect
    from worker.data_converter import data_converter
    from worker.settings.loading import has_control_plane_credential
    from worker.telemetry import telemetry_runtime

    async with open_clients(settings) as clients:
        converter = data_converter(settings.encryption.keyring)
        client = await connect(converter, runtime=telemetry_runtime(None))
        await check_namespace(client)
        app = create_app(
            settings,
            client,
            tokens_file=tokens_file,
            people=clients.directory or clients.rafay,
            hosts=clients.hosts,
            rafay=clients.rafay if has_control_plane_credential(settings) else None,
            directory=clients.directory,
            add_pages=add_pages,
        )
        await serve(app, settings.api, bind, port)


@click.command(epilog=examples("MOORAGE_CONFIG=moorage.toml moorage codec-server --port 7401"))
@_bind_option
@_port_option
@output_option()
def codec_server(bind: str | None, port: int | None, output: Output) -> None:
    """Run the server that decrypts payloads for Temporal's Web UI, until SIGTERM.

    It needs the settings ENCRYPTION, CODEC_SERVER and API__TOKENS_FILE, and no others. Only members of the
    platform team get decrypted payloads.
    """
    with report_errors(output, logs=True):
        import asyncio

        from starter.cli.arguments.settings_validation import read_settings
        from starter.codec_server.app import create_codec_server, serve_codec
        from starter.config_files.yaml_source import FilesUnusable
        from worker.settings.loading import load_codec_server_settings

        settings = read_settings(load_codec_server_settings)
        codec = settings.codec_server
        if settings.api.tokens_file is None and not codec.trust_same_user:
            message = "MOORAGE_API__TOKENS_FILE: the codec server needs it to know the platform team"
            raise CliError(Code.BAD_INPUT, message)
        try:
            app = create_codec_server(
                settings.encryption.keyring,
                tokens_file=settings.api.tokens_file,
                ui=codec.ui,
                trust_same_user=codec.trust_same_user,
            )
            asyncio.run(serve_codec(app, bind or codec.bind, port or codec.port))
        except FilesUnusable as error:
            lines = list(map(str, error.problems))
            raise CliError(Code.BAD_INPUT, "the tokens file has problems", lines=lines) from None
        except OSError as error:
            raise CliError(Code.FAILED, f"the codec server cannot listen: {error.strerror}") from None
