"""The common base of all models in payloads and in the API."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from contracts.types.durations import parse_duration
from contracts.types.printable_text import ensure_printable

#: One line of text that may be shown unchanged. Used where text that people write enters the system.
Printable = Annotated[str, AfterValidator(ensure_printable)]


def _read_duration(value: object) -> object:
    # Leave ISO 8601 ("PT8H") to pydantic, because payloads contain durations in that form.
    return parse_duration(value) if isinstance(value, str) and not value.startswith(("P", "-P")) else value


#: A length of time in a model: people write it as "8h" or as ISO 8601, and the model keeps a timedelta.
Duration = Annotated[timedelta, BeforeValidator(_read_duration)]


class Frozen(BaseModel):
    """An immutable value.

    Reading ignores unknown fields, so that an older reader accepts the output of a newer writer.
    """

    model_config = ConfigDict(frozen=True)
