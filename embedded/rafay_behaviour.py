"""How the stand-in behaves where real controllers differ or are slow; set at its start or while it runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Behaviour(BaseModel):
    """All switches, read and changed (a JSON object with some of them) at `/-/switches`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    missing_status: Literal[404, 500] = Field(
        default=404, description="status of a missing v1 or v2 object; 500 comes with its database's words"
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
    sign_ins: Literal["told", "untold"] = Field(
        default="told", description="whether the list of identity providers is served at all"
    )
    page_limit: int = Field(default=1000, ge=1, description="most entries in one page, whatever is asked for")


#: Where they are.
SWITCHES_PATH = "/-/switches"
