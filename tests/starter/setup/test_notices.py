"""What doctor says of the notices about environments whose owner has left."""

from typing import Any

import pytest

from starter.setup.check import State
from starter.setup.notices import Notices
from starter.setup.runner import run_checks
from worker.settings.groups.expiry import Notices as NoticeSettings

MAIL = {"smtp_host": "mail.example.com", "sender": "moorage@example.com"}
TEAM = {"platform_team": "ops@example.com"}
HOOK = {"webhook_url": "https://hooks.example.com", "webhook_secret": "whsec_" + "YWJj" * 12}


@pytest.mark.parametrize(
    ("settings", "where", "expected"),
    [
        (MAIL | TEAM, "e-mail", "the platform team is notified of what has no owner: e-mail"),
        (
            MAIL | TEAM | HOOK,
            "webhook, e-mail",
            "the platform team is notified of what has no owner: webhook, e-mail",
        ),
        (MAIL, "e-mail", "reach its collaborators at most; warning: no platform team is set"),
        (MAIL | HOOK, "webhook, e-mail", "only reach webhook; warning: no platform team is set"),
        (
            HOOK | TEAM,
            "webhook",
            "only reach webhook; warning: MOORAGE_NOTICES__PLATFORM_TEAM gets no e-mail",
        ),
        (TEAM, "", "reach no person; warning: MOORAGE_NOTICES__PLATFORM_TEAM gets no e-mail"),
        ({}, "", "reach no person; warning: no platform team is set (MOORAGE_NOTICES__PLATFORM_TEAM)"),
    ],
)
async def test_a_lack_is_a_warning(settings: dict[str, Any], where: str, expected: str) -> None:
    """Ensures that setup goes on, and that the sentence names the setting that is lacking."""
    [result] = await run_checks(Notices(NoticeSettings.model_validate(settings)).parts(), repair=True)
    assert (result.state, result.where, result.part) == (State.OK, where, "people who leave")
    assert expected in result.detail
