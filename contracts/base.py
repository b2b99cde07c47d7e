"""The common base of all models that travel in payloads or over the API."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value. Reading ignores unknown fields, so that an older reader survives a newer writer."""

    model_config = ConfigDict(frozen=True)
