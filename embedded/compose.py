"""The stand-ins for a worker and an API that run elsewhere on this machine: `docker-compose.yml`.

`python -m embedded.compose --folder PATH`: takes ports and secrets from the settings of worker and API.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from clients.private_files import ensure_private_folder
from embedded.standin_options import DirectoryOptions, HostOptions, RafayOptions, StandInOptions
from embedded.standins import run

#: Exists in the folder while they serve.
READY_FILE = "ready"


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m embedded.compose", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of their data")
    parser.add_argument(
        "--virtual-address", help="ADDRESS:PORT on which the simulated clusters listen, in a container"
    )
    arguments = parser.parse_args()
    ready = arguments.folder / READY_FILE
    try:
        ensure_private_folder(arguments.folder)
        ready.unlink(missing_ok=True)
        options = options_of(os.environ, arguments.folder, arguments.virtual_address)
        asyncio.run(run(options, stop_with_parent=False, when_ready=ready.touch))
    except ValidationError as error:
        sys.exit("; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    finally:
        ready.unlink(missing_ok=True)


def options_of(environment: Mapping[str, str], folder: Path, virtual_address: str | None) -> StandInOptions:
    """Return the options of all three, from the settings that name them.

    Raises:
        ValueError: a URL has no port, or a secret is empty.
        OSError: the file of a secret cannot be read.
    """

    def port(name: str) -> int:
        number = urlsplit(environment.get(name, "")).port
        if number is None:
            raise ValueError(f"{name} must be set, with a port: http://127.0.0.1:7001")
        return number

    def secret(name: str) -> str:
        file = environment.get(f"{name}_FILE")
        return Path(file).read_text(encoding="utf-8").strip() if file else environment.get(name, "")

    return StandInOptions(
        control_plane=RafayOptions(
            port=port("MOORAGE_CONTROL_PLANE__URL"),
            api_key=secret("MOORAGE_CONTROL_PLANE__API_KEY"),
            database=folder / "control-plane.sqlite",
        ),
        directory=DirectoryOptions(
            port=port("MOORAGE_IDENTITY__URL"),
            token=secret("MOORAGE_IDENTITY__TOKEN"),
            database=folder / "directory.sqlite",
        ),
        host=HostOptions(
            port=port("MOORAGE_HOSTS__LOCAL__URL"),
            token=secret("MOORAGE_HOSTS__LOCAL__TOKEN"),
            folder=folder / "host",
            virtual_address=virtual_address,
        ),
    )


if __name__ == "__main__":
    main()
