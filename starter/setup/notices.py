"""The part that says whether a notice about an environment without an owner reaches a person."""

from dataclasses import dataclass

from starter.setup.areas import Area
from starter.setup.check import Found, SetupCheck, well
from worker.settings.groups.expiry import Notices as NoticeSettings

SYSTEM = "notices"


@dataclass(frozen=True)
class Notices:
    """The check of the channels. None of them is needed to run Moorage, so a lack is a warning."""

    settings: NoticeSettings

    def parts(self) -> tuple[SetupCheck, ...]:
        """Return the part."""
        names = ", ".join(self._channels)
        return (SetupCheck(Area.IDENTITY, SYSTEM, "people who leave", names, self._check),)

    @property
    def _channels(self) -> tuple[str, ...]:
        settings = self.settings
        channels = {
            "webhook": settings.webhook_url,
            "Slack": settings.slack_url,
            "e-mail": settings.smtp_host and settings.sender,
        }
        return tuple(name for name, is_set in channels.items() if is_set)

    async def _check(self) -> Found:
        by = self._channels
        if self.settings.platform_team and "e-mail" in by:
            return well(f"the platform team is notified of what has no owner: {', '.join(by)}")
        if self.settings.platform_team:
            lack = (
                "MOORAGE_NOTICES__PLATFORM_TEAM gets no e-mail: set MOORAGE_NOTICES__SMTP_HOST and __SENDER"
            )
        else:
            lack = "no platform team is set (MOORAGE_NOTICES__PLATFORM_TEAM)"
        others = [channel for channel in by if channel != "e-mail"]
        reach = f"only reach {' and '.join(others)}" if others else "reach its collaborators at most"
        if not by:
            reach = "reach no person"
        return well(f"notices about an environment whose owner has left {reach}; warning: {lack}")
