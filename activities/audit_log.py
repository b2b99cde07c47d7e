"""The activity that writes the account of a life to the audit log: a file, a webhook, both or none.

The account is kept there because it must outlast Temporal's retention.
"""

from dataclasses import dataclass

from temporalio import activity

from activities import activity_context
from clients.jsonl_file import JsonLinesFile
from clients.webhook import Webhook
from contracts.activities import TrailActivities, TrailResult
from contracts.notifications import LifeRecord


@dataclass(frozen=True)
class Sinks:
    """Where accounts are written; None means that this sink is not configured."""

    file: JsonLinesFile | None = None
    webhook: Webhook | None = None


class AuditLog(TrailActivities):
    """Writes each account to every sink."""

    def __init__(self, sinks: Sinks) -> None:
        self._sinks = sinks

    @activity.defn(name="trail.keep")
    async def keep(self, input: LifeRecord) -> TrailResult:
        """Write the account to the file, then to the webhook.

        The file comes first and is recorded in the heartbeat, so that a retry does not append to it again.
        """
        kept_in = list(filter(None, activity_context.kept().split(",")))
        if self._sinks.file and "file" not in kept_in:
            await self._sinks.file.add(input.model_dump_json())
            kept_in.append("file")
            activity_context.keep(",".join(kept_in))
        if self._sinks.webhook:
            await self._sinks.webhook.post(input.life, input.model_dump(mode="json"), "hand over an account")
            kept_in.append("webhook")
        return TrailResult(kept_in=tuple(kept_in))
