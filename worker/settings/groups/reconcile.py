"""The settings of the reconcile sweep."""

from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

from contracts.phases import DriftKind
from contracts.reconcile.drift import DEFAULT_REPAIR
from worker.settings.types import Group, PositiveDuration, split_words


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
    repair: Annotated[tuple[DriftKind, ...], BeforeValidator(split_words)] = Field(
        default=DEFAULT_REPAIR,
        description="what is made again when it is missing or altered under a ready environment: names of "
        "steps, `guards` for the quota, limits and network policies of its namespace, `members` for people "
        "who are missing in its groups, and `extra-members` for others who are in them; what is not named "
        "is only reported",
    )
    ignore: Annotated[tuple[DriftKind, ...], BeforeValidator(split_words)] = Field(
        default=(), description="the same names, of what is not even reported"
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
