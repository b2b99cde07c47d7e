"""Sessions, issuers and environments as values, for tests without a server."""

import base64
import os
from datetime import UTC, datetime
from typing import Any

from contracts.environment.models import Phase
from starter.auth.oidc.issuers import Issuer
from starter.auth.policy import Principal
from starter.environments.schemas import EnvironmentView
from starter.page.session.session import Session, mark_of

KEYS = (b"k" * 32,)
ISSUER = Issuer(
    url="https://sso.example.com", audience="moorage-api", client_id="moorage", team_prefix="team-"
)
ADA = Principal(person="Ada Lovelace", email="ada@example.com", teams=("payments",))


def a_session(**changes: Any) -> Session:
    """A session of Ada."""
    values: dict[str, Any] = {
        "id": "id-1",
        "root": "root",
        "principal": ADA,
        "issuer": ISSUER.url,
        "issuer_mark": mark_of(ISSUER),
        "started_at": 1000.0,
        "seen_at": 1000.0,
        "renew_at": 1240.0,
        "valid_until": 1360.0,
    }
    return Session(**{**values, **changes})


def a_view(**changes: Any) -> EnvironmentView:
    """A ready environment of Bob."""
    values: dict[str, Any] = {
        "name": "demo",
        "life": "a1",
        "owner": "bob@example.com",
        "team": "blue",
        "template": "small",
        "host": "local",
        "phase": Phase.READY,
        "requested_at": datetime(2026, 11, 27, 12, 0, tzinfo=UTC),
    }
    return EnvironmentView(**{**values, **changes})


def incompressible(length: int) -> str:
    """Text that a token is made of."""
    return base64.urlsafe_b64encode(os.urandom(length)).decode()[:length]
