"""The common base of all models that travel in payloads or over the API."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from contracts.printable_text import ensure_printable

#: One line of text that may be shown as it is: for what people write, where it comes in.
Printable = Annotated[str, AfterValidator(ensure_printable)]


class Frozen(BaseModel):
    """An immutable value. Reading ignores unknown fields, so that an older reader survives a newer writer."""

    model_config = ConfigDict(frozen=True)
