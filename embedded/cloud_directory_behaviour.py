"""The behaviour of the stand-ins for Okta and Entra ID, set at their start or later at `/-/behaviour`."""

from pydantic import BaseModel, ConfigDict, Field

#: Path at which it is read and changed.
BEHAVIOUR_PATH = "/-/behaviour"


class DirectoryBehaviour(BaseModel):
    """What both have: a lag, paging, and limits of calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lag: float = Field(
        default=1.0, ge=0, le=86400, description="seconds until what is eventually consistent shows a change"
    )
    page_limit: int = Field(default=1000, ge=1, description="most entries of one page, for any limit")
    throttled_calls: int = Field(
        default=0, ge=0, description="how many of the next calls are answered with 429"
    )
    throttled_seconds: float = Field(
        default=1.0, ge=0, le=3600, description="seconds after which such an answer asks to call again"
    )
    token_seconds: int = Field(default=3600, ge=1, description="seconds that an access token is valid")


class OktaBehaviour(DirectoryBehaviour):
    """The behaviour of the stand-in for Okta."""

    rate_limit: int = Field(default=600, ge=1, description="calls of one kind in a window")
    rate_window: float = Field(default=60.0, gt=0, le=3600, description="seconds of a window")


class EntraBehaviour(DirectoryBehaviour):
    """The behaviour of the stand-in for Microsoft Entra ID."""

    stale_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of the calls that a replica answers which lags behind; others see every change",
    )
    retry_after: bool = Field(default=True, description="whether a 429 has Retry-After")
    write_limit: int = Field(default=3000, ge=1, description="writes in a window")
    write_window: float = Field(default=150.0, gt=0, le=3600, description="seconds of that window")
    deletes_softly: bool = Field(
        default=True, description="whether a deleted security group can be restored, and keeps its uniqueName"
    )
    filters_unique_name: bool = Field(
        default=False,
        description="whether uniqueName can be filtered by; the documentation only makes it an alternate key",
    )
