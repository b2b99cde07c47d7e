"""The activity that writes the account of a life to the audit log: a file, a webhook, both or none.

The account is kept there because it must outlast Temporal's retention.
"""

from dataclasses import dataclass

from temporalio import activity

from activities import activity_context
from clients.jsonl_file import JsonLinesFile
from clients.webhook import Webhook
from contracts.activities.notices import AuditLogActivities, AuditLogResult
from contracts.notifications import LifeRecord


@dataclass(frozen=True)
class AuditLogSinks:
    """Where accounts are written; None means that this sink is not configured."""

    file: JsonLinesFile | None = None
    webhook: Webhook | None = None


class AuditLog(AuditLogActivities):
    """Writes each account to every sink."""

    def __init__(self, sinks: AuditLogSinks) -> None:
        self._sinks = sinks

    @activity.defn(name="audit_log.write")
    async def write(self, input: LifeRecord) -> AuditLogResult:
        """Write the account to the file, then to the webhook.

        The file comes first and is recorded in the heartbeat, so that a retry does not append to it again.
        """
        written_to = list(filter(None, activity_context.last_checkpoint().split(",")))
        if self._sinks.file and "file" not in written_to:
            await self._sinks.file.add(input.model_dump_json())
            written_to.append("file")
            activity_context.save_checkpoint(",".join(written_to))
        if self._sinks.webhook:
            await self._sinks.webhook.post(input.life, input.model_dump(mode="json"), "hand over an account")
            written_to.append("webhook")
        return AuditLogResult(written_to=tuple(written_to))
