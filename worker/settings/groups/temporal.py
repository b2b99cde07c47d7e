"""What pages say about Temporal. The connection has Temporal's own settings, see `worker.connection`."""

from pydantic import Field

from worker.settings.types import Group, Url


class TemporalPages(Group):
    """Links to Temporal. Its connection has Temporal's own variables (`TEMPORAL_ADDRESS`, …)."""

    web_url: Url | None = Field(
        default=None,
        description="where people open Temporal's Web UI: the platform team's pages link to each run there",
        examples=["https://temporal.example.com"],
    )
