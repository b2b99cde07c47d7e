"""What Temporal has stored in the PostgreSQL of `tools.temporal_postgres`."""

import json
import os
import re
import subprocess
from pathlib import Path

DATABASES = ("temporal", "temporal_visibility")


def database_dumps(folder: Path) -> dict[str, str]:
    """Both databases of a server that runs from the folder, as text without values in hexadecimal."""
    addresses = json.loads((folder / "addresses.json").read_text())
    password = Path(addresses["password_file"]).read_text()
    return {name: _plain(_dump(f"{addresses['postgres']}/{name}", password)) for name in DATABASES}


def _dump(address: str, password: str) -> str:
    command = ["pg_dump", "--data-only", "--inserts", address]
    environment = {**os.environ, "PGPASSWORD": password}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _plain(dump: str) -> str:
    return re.sub(r"\\x([0-9a-f]+)", lambda found: bytes.fromhex(found[1]).decode("latin-1"), dump)
