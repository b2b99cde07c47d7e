"""What settings are made of: groups, and the kinds of values that are checked alike wherever they occur."""

from datetime import timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    IPvAnyNetwork,
    SecretStr,
    StringConstraints,
)

from contracts.durations import Duration


def _is_url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or len(text.split("://", 1)[1]) == 0:
        raise ValueError("must be a URL that starts with https:// (or http://)")
    return text.rstrip("/")


def _is_not_empty(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().strip():
        raise ValueError("is empty")
    return secret


def _is_positive(length: timedelta) -> timedelta:
    if length <= timedelta(0):
        raise ValueError('must be longer than nothing, such as "30s"')
    return length


def split_words(value: object) -> object:
    """A list, of how people write one in a variable: with blanks or commas."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Url = Annotated[str, AfterValidator(_is_url)]
Secret = Annotated[SecretStr, AfterValidator(_is_not_empty)]
PositiveDuration = Annotated[Duration, AfterValidator(_is_positive)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(split_words)]
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,28}[a-z0-9])?$")]


class Group(BaseModel):
    """Settings that belong together. Immutable; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
