"""Keeps the account of a life where it outlasts Temporal's retention: a file, a webhook, either or none."""

from dataclasses import dataclass

from temporalio import activity

from activities import activity_context
from clients.jsonl_file import JsonLinesFile
from clients.webhook import Webhook
from contracts.activities import TrailActivities, TrailResult
from contracts.notifications import Account


@dataclass(frozen=True)
class Sinks:
    """Where accounts go; None is not set."""

    file: JsonLinesFile | None = None
    webhook: Webhook | None = None


class Trail(TrailActivities):
    """Hands each account to every sink."""

    def __init__(self, sinks: Sinks) -> None:
        self._sinks = sinks

    @activity.defn(name="trail.keep")
    async def keep(self, input: Account) -> TrailResult:
        """The file first: what it has taken is not added again by a further try."""
        kept_in = list(filter(None, activity_context.kept().split(",")))
        if self._sinks.file and "file" not in kept_in:
            await self._sinks.file.add(input.model_dump_json())
            kept_in.append("file")
            activity_context.keep(",".join(kept_in))
        if self._sinks.webhook:
            await self._sinks.webhook.post(input.life, input.model_dump(mode="json"), "hand over an account")
            kept_in.append("webhook")
        return TrailResult(kept_in=tuple(kept_in))
