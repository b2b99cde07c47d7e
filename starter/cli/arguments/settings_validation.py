"""The settings of an operator's command: all their problems at once, and logs as they say."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from starter.cli.errors import CliError, Code

if TYPE_CHECKING:
    from worker.settings.models import CodecServerSettings, HostWorkerSettings, Settings

    _Settings = TypeVar("_Settings", Settings, CodecServerSettings, HostWorkerSettings)


def read_settings(load: "Callable[[], _Settings]") -> "_Settings":
    """Load the settings and configure the logs; raise CliError with all problems."""
    from worker.settings.sources import SettingsError
    from worker.telemetry import configure_logging

    try:
        settings = load()
    except SettingsError as error:
        raise CliError(
            Code.BAD_INPUT,
            "the settings are not valid",
            lines=error.problems,
            next_steps=["set MOORAGE_* or the file of MOORAGE_CONFIG; see docs/reference/settings.md"],
        ) from None
    try:
        configure_logging(settings.log)
    except OSError as error:
        message = f"MOORAGE_LOG__SECURITY: cannot write {settings.log.security}: {error.strerror}"
        raise CliError(Code.BAD_INPUT, message) from None
    return settings
