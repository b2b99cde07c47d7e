"""The settings of the reconcile sweep."""

from datetime import timedelta

from pydantic import Field

from worker.settings.types import Group, PositiveDuration


class Reconcile(Group):
    """The reconcile sweep."""

    interval: PositiveDuration = Field(
        default=timedelta(minutes=30),
        description="how often what exists in all systems is compared with the open environments",
    )
    grace: PositiveDuration = Field(
        default=timedelta(minutes=30),
        description="how long what is incomplete and belongs to no open environment is left alone before it "
        "is undone",
    )
    limit: int = Field(
        default=5,
        ge=1,
        le=500,
        description="if more lives than that are to be adopted or undone at once, the platform team must "
        "confirm it",
    )
    limit_percent: int = Field(
        default=10,
        ge=1,
        le=100,
        description="the same, as a share of all environments; one life may always be adopted or undone",
    )
