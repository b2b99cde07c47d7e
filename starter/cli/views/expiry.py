"""The API's answers about expiry, as the command line reads them; see `starter.cli.views.base`."""

from datetime import datetime

from starter.cli.views.base import View


class FreezeView(View, frozen=True, kw_only=True):
    """A freeze of all ends."""

    by: str = ""
    since: datetime | None = None
    reason: str


class FreezeAnswer(View, frozen=True, kw_only=True):
    """The freeze of all ends, if there is one, and a sentence about it."""

    frozen: FreezeView | None
    message: str
