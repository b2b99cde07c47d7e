"""The stand-ins alone, for a worker and an API that run elsewhere on this machine: `docker-compose.yml`.

`python -m embedded.standins --folder PATH`: takes their ports and secrets from the variables with
which the worker and the API are told of them.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from embedded.stack.processes import HOST
from embedded.stack.stack import Options, Part, StackError, up

#: Where the settings have each of them: its URL, and its secret or the file of it.
_SETTINGS = {
    Part.CONTROL_PLANE: ("MOORAGE_CONTROL_PLANE__URL", "MOORAGE_CONTROL_PLANE__API_KEY"),
    Part.DIRECTORY: ("MOORAGE_IDENTITY__URL", "MOORAGE_IDENTITY__TOKEN"),
    Part.HOST: (f"MOORAGE_HOSTS__{HOST.upper()}__URL", f"MOORAGE_HOSTS__{HOST.upper()}__TOKEN"),
}


def main() -> None:
    """Run them until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m embedded.standins", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where their state is kept")
    parser.add_argument("--doors", help="ADDRESS:PORT on which the simulated clusters listen, in a container")
    given = parser.parse_args()
    try:
        asyncio.run(up(given.folder, _options(given.doors), lambda text: print(text, flush=True)))
    except (StackError, OSError, ValueError) as error:
        sys.exit(str(error))


def _options(doors: str | None) -> Options:
    ports, secrets = {}, {}
    for part, (url, secret) in _SETTINGS.items():
        port = urlsplit(os.environ.get(url, "")).port
        if port is None:
            raise ValueError(f"{url} must be set, with a port: http://127.0.0.1:7001")
        ports[part] = port
        path = os.environ.get(f"{secret}_FILE")
        secrets[part] = Path(path).read_text(encoding="utf-8").strip() if path else os.environ.get(secret, "")
    arguments = {Part.HOST: ("--doors", doors)} if doors else {}
    return Options(parts=frozenset(_SETTINGS), ports=ports, secrets=secrets, arguments=arguments)


if __name__ == "__main__":
    main()
