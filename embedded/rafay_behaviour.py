"""The behaviour of the stand-in where real controllers differ or are slow, set at its start or later."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Behaviour(BaseModel):
    """The whole behaviour, read and changed (a JSON object with some of the fields) at `/-/behaviour`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing_status: Literal[404, 500] = Field(
        default=404, description="status of a missing v1 or v2 object; 500 has the message of its database"
    )
    bootstrap_form: Literal["json", "yaml"] = Field(
        default="json", description="the bootstrap manifest as base64 in JSON, or as it is"
    )
    bootstrap_misses: int = Field(
        default=0, ge=0, description="how often the bootstrap of a new cluster is not there yet"
    )
    latency: float = Field(default=0.0, ge=0, le=60, description="seconds that each call takes at least")
    forced_delete: float = Field(
        default=0.2, ge=0, le=3600, description="seconds from a forced delete to the end of the record"
    )
    agent_silence: float = Field(
        default=90.0, gt=0, description="seconds without its agent after which a cluster is unhealthy"
    )
    sign_ins: Literal["listed", "not_served"] = Field(
        default="listed", description="whether the list of identity providers is served"
    )
    page_limit: int = Field(default=1000, ge=1, description="most entries of one page, for any `limit`")


#: Path at which it is read and changed.
BEHAVIOUR_PATH = "/-/behaviour"
