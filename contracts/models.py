"""The common base of all models in payloads and in the API."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from contracts.printable_text import ensure_printable

#: One line of text that may be shown unchanged. Used where text that people write enters the system.
Printable = Annotated[str, AfterValidator(ensure_printable)]


class Frozen(BaseModel):
    """An immutable value.

    Reading ignores unknown fields, so that an older reader accepts the output of a newer writer.
    """

    model_config = ConfigDict(frozen=True)
