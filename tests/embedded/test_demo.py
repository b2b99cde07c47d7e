"""`make demo KEEP=1` as a process: what a newcomer sees first."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.deadline import HANG
from tests.support.stand_ins import CHECKOUT, TLS

pytestmark = pytest.mark.slow


async def test_the_demo_tries_a_template_and_leaves_its_page_up(tmp_path: Path) -> None:
    """Ensures that the address that it prints last is that of the page, until Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOORAGE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "embedded.demo", "--keep", cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(CHECKOUT)}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    printed = ""
    try:
        async with asyncio.timeout(4 * HANG):
            while "Ctrl-C stops it." not in printed:
                line = (await process.stdout.readline()).decode()
                assert line, f"it has ended: {printed}"
                printed += line
        address = re.search(r"Its page is (\S+/):", printed)
        assert re.search(r"^Done in \d+ s$", printed, re.MULTILINE), printed
        assert address, printed
        async with httpx.AsyncClient(verify=TLS, trust_env=False, follow_redirects=True) as http:
            page = await http.get(address[1], headers={"Accept": "text/html"})
        assert (page.status_code, "Password" in page.text) == (200, True), "it leads to no sign-in"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        rest, _ = await process.communicate()
    assert (process.returncode, rest.decode().strip()) == (0, "Stopped.")
