"""The settings of capacity and quotas: of hosts, teams and people."""

import json
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from contracts.capacity.models import Limits
from contracts.templates.template import Label, Quantity
from contracts.types.quantities import parse_quantity
from worker.settings.types import Group, PositiveDuration


def _from_json(value: object) -> object:
    """Parse a group that is written as JSON in a single variable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError('is not JSON, such as {"environments": 5}') from None


def _from_words(value: object) -> object:
    """Parse labels that are written in a single variable: "zone=eu, gpu=yes"."""
    if not isinstance(value, str):
        return value
    pairs = [word.partition("=") for word in value.replace(",", " ").split()]
    if not all(name and text for name, _, text in pairs):
        raise ValueError("must be name=value, several with commas between them")
    return {name: text for name, _, text in pairs}


Labels = Annotated[dict[Label, Label], BeforeValidator(_from_words)]


class Share(Group):
    """Upper limits; what is left out has no limit here."""

    environments: int | None = Field(default=None, ge=0, description="environments that may be open")
    cpu: Quantity | None = Field(default=None, description='CPUs, such as "16"', coerce_numbers_to_str=True)
    memory: Quantity | None = Field(default=None, description='memory, such as "64Gi"')

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return _from_json(value)

    @property
    def limits(self) -> Limits:
        """The limits as numbers: thousandths of a CPU, and bytes."""
        return Limits(
            environments=self.environments,
            cpu=None if self.cpu is None else int(parse_quantity(self.cpu) * 1000),
            memory=None if self.memory is None else int(parse_quantity(self.memory)),
        )


class Quotas(Group):
    """How much teams and people may have at a time. Templates have their own quotas in addition."""

    teams: Annotated[dict[str, Share], BeforeValidator(_from_json)] = Field(
        default_factory=dict, description="by the name of the team; in one variable as JSON"
    )
    person: Share = Share()


class Capacity(Group):
    """The capacity audit, which compares reservations with open environments and hosts."""

    audit: PositiveDuration = Field(
        default=timedelta(minutes=2),
        description="how often what is held is compared with what is open, and hosts tell what they have",
    )
