"""Searches all that a stack leaves behind for the secrets that took part in it.

A search that finds nothing proves nothing unless it finds what was planted: `Canaries.found` looks for
`PLANTED` as well, and the tests put it where a secret must not be. A history is searched decrypted, or the
search could never fail; Temporal's database is searched as it lies on the disk.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from embedded.stack.stack import Part, Stack
from tests.activities.notification_receivers import Receiver
from tests.support.postgres import database_dumps
from worker.settings.reference import describe_settings

PLANTED = "let-through-on-purpose"
#: The variables of all settings that are secrets, whatever hosts there are.
_SECRET_SETTINGS = re.compile(
    "|".join(
        re.escape(setting.name).replace("<name>", "[A-Z0-9_]+")
        for setting in describe_settings()
        if setting.form.startswith("secret")
    )
)
#: Shorter ones would be found by chance.
_SHORTEST = 12


class Canaries:
    """The secrets that take part, by what they are."""

    def __init__(self, stack: Stack) -> None:
        self.secrets = {name: value for name, value in stack.env.items() if _SECRET_SETTINGS.fullmatch(name)}
        self.secrets |= {
            f"{person.email}'s token": stack.token_of(person.email) for person in stack.options.people
        }
        # The end of such an address is secret too: the rest can be guessed.
        self.secrets |= {
            f"the end of {name}": url.rpartition("/")[2]
            for name, url in self.secrets.items()
            if url.startswith("http")
        }
        self._stack = stack

    def learn_bootstrap_tokens(self) -> None:
        """Search for the tokens with which the control plane's agents of now come in, as well."""
        path = self._stack.databases[Part.CONTROL_PLANE]
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            for number, (token,) in enumerate(database.execute("SELECT token FROM clusters").fetchall()):
                self.secrets[f"the bootstrap token {token[:4]} {number}"] = token

    def found(self, texts: Mapping[str, str]) -> list[str]:
        """Which secrets are in which of the texts, in words."""
        searched = self.secrets | {"what was planted": PLANTED}
        assert min(map(len, searched.values())) >= _SHORTEST
        return [
            f"{what} in {where}"
            for where, text in texts.items()
            for what in searched
            if searched[what] in text
        ]


def every_secret(receiver: Receiver, smtp_port: int) -> dict[str, str]:
    """Settings by which notices and accounts are sent, with each secret that they can have."""
    return {
        "MOORAGE_NOTICES__WEBHOOK_URL": receiver.url,
        "MOORAGE_NOTICES__WEBHOOK_SECRET": "whsec_c2lnbnMtdGhlLW5vdGljZXMtNDcxMS1wYWRkZWQtdG8tMzI=",
        "MOORAGE_NOTICES__SLACK_URL": f"{receiver.url}&slack=T0001/B0002/secret-path-4711",
        "MOORAGE_NOTICES__SMTP_HOST": "127.0.0.1",
        "MOORAGE_NOTICES__SMTP_PORT": str(smtp_port),
        "MOORAGE_NOTICES__SMTP_SECURITY": "none",
        "MOORAGE_NOTICES__SMTP_USER": "moorage",
        "MOORAGE_NOTICES__SMTP_PASSWORD": MAIL_PASSWORD,
        "MOORAGE_NOTICES__SENDER": "moorage@example.com",
        "MOORAGE_AUDIT_LOG__WEBHOOK_URL": receiver.url,
        "MOORAGE_AUDIT_LOG__WEBHOOK_SECRET": "whsec_c2lnbnMtdGhlLWFjY291bnRzLTQ3MTEtcGFkZGVkLXRvLTMy",
    }


#: A template whose environments warn, and end, within seconds: so that all notices are sent.
BRIEF = """
version: 1
description: Lives for seconds.
chart: {version: 0.36.0}
kubernetes: v1.36.0
size: {cpu: "1", memory: 2Gi, storage: 2Gi, pods: 20}
ttl: {default: 15s, maximum: 1h, warnings: [5s]}
"""
#: It, with a pool of standbys.
BRIEF_AND_WARM = f"{BRIEF}warm: {{ready: 1, most: 3}}\n"
#: The mail server of `every_secret` wants it.
MAIL_PASSWORD = "lets-the-worker-in-4711"


def settings_that_are_secret() -> list[str]:
    """The variables of all settings that are secrets, as docs/reference/settings.md has them."""
    return [setting.name for setting in describe_settings() if setting.form.startswith("secret")]


def temporal_files(stack: Stack) -> dict[str, str]:
    """Temporal's database as it lies on the disk, with what is not yet in its main file."""
    if stack.options.temporal_command:
        return database_dumps(stack.folder / "temporal")
    files = stack.folder.glob("temporal.sqlite*")
    return {file.name: file.read_bytes().decode("latin-1") for file in files}


def logs(stack: Stack) -> dict[str, str]:
    """What all parts have written."""
    return {file.name: file.read_text(errors="replace") for file in (stack.folder / "logs").iterdir()}


def arguments_of_processes(stack: Stack, *others: int) -> dict[str, str]:
    """The arguments of all parts, and of all that runs in their process groups.

    A fork shows those of the launcher; where Python is executed instead, it shows those of its command.
    """
    leaders = {stack.pid(part) for part in stack.options.parts} | set(others)
    found = {f"the command of the {part}": "\0".join(stack.command(part)) for part in stack.options.parts}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) in leaders:
                found[f"process {process.name}"] = (process / "cmdline").read_text(errors="replace")
        except (ProcessLookupError, FileNotFoundError):
            continue  # it has ended meanwhile
    assert len(found) >= len(stack.options.parts) + len(leaders)
    return found


def open_files(folder: Path) -> dict[str, str]:
    """The files in the folder that others than their owner can read."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 10
    return {
        str(file.relative_to(folder)): file.read_bytes().decode("latin-1")
        for file in files
        if stat.S_IMODE(file.stat().st_mode) & 0o077
    }
