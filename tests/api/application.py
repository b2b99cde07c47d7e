"""The API's application without a stack: for what it decides before it asks Temporal or any system."""

import base64
import os
from pathlib import Path

from fastapi import FastAPI
from temporalio.client import Client

from starter.api.app import create_app
from starter.auth.policy import Principal, Role
from starter.auth.tokens import write_tokens
from starter.environments.people_check import PeopleDirectory
from starter.page.pages import add_pages
from worker.settings.loading import load_settings

#: Their tokens, by which the API knows them.
DEVELOPER, PLATFORM = "token-of-a-developer", "token-of-the-platform"
DEV = Principal(person="Dev", email="dev@example.com", teams=("blue",))
OPS = Principal(person="Ops", email="ops@example.com", teams=("blue",), role=Role.PLATFORM)


async def an_app(folder: Path, **variables: str) -> FastAPI:
    """The application with two people's tokens, and a Temporal that nothing listens for."""
    return await an_app_with(_Directory(), folder, **variables)


async def an_app_with(people: PeopleDirectory, folder: Path, **variables: str) -> FastAPI:
    """As `an_app`, with a directory that is asked."""
    tokens = folder / "tokens.yaml"
    write_tokens(tokens, [(DEVELOPER, DEV), (PLATFORM, OPS)])
    settings = load_settings(
        {
            "MOORAGE_INSTALLATION": "k3x9q0vb",
            "MOORAGE_ENCRYPTION__KEYS": base64.b64encode(os.urandom(32)).decode(),
            "MOORAGE_CONTROL_PLANE__URL": "http://127.0.0.1:1",
            "MOORAGE_CONTROL_PLANE__API_KEY": "unused",
            "MOORAGE_HOSTS__LOCAL__KIND": "simulated",
            "MOORAGE_HOSTS__LOCAL__URL": "http://127.0.0.1:1",
            "MOORAGE_HOSTS__LOCAL__TOKEN": "unused",
            **variables,
        }
    )
    client = await Client.connect("127.0.0.1:1", lazy=True)
    return create_app(settings, client, tokens_file=tokens, people=people, hosts={}, add_pages=add_pages)


class _Directory:
    """A directory that is never asked."""

    async def find_user(self, email: str) -> None:
        raise AssertionError(email)


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}
