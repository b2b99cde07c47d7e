"""`python -m worker`: the worker as a process, for those who do not use the `moorage` command."""

import asyncio
import sys

from worker.connection import NotConnected
from worker.run import run_worker
from worker.settings import SettingsError, load_settings
from worker.telemetry import configure_logging


def main() -> int:
    """Run until told to stop; the exit code is 2 when the settings, or Temporal, cannot be used."""
    try:
        settings = load_settings()
        configure_logging(settings.log)
        asyncio.run(run_worker(settings))
    except (SettingsError, NotConnected, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
