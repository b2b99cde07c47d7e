"""Deletion of objects in an environment's namespace that do not terminate: normally, then by force."""

from activities import activity_context
from activities.parts.host_lookup import is_own_namespace
from clients.host.protocol import Host
from contracts.environment.models import Environment

#: Most lines of a certificate about forced deletions; a tenant may have left hundreds of objects.
MAX_FORCED_LINES = 20
#: Most lines that the next attempt starts with: enough to know that there were more.
MAX_CHECKPOINT_LINES = MAX_FORCED_LINES + 1


class ForcedDeletion:
    """Deletes everything in the namespace, if it has the mark of this life, and records what was forced."""

    def __init__(self, host: Host, environment: Environment) -> None:
        self._host = host
        self._environment = environment
        # An earlier attempt may have been interrupted after it had forced a deletion.
        self._lines: dict[str, None] = dict.fromkeys(activity_context.last_checkpoint().splitlines())

    async def advance(self, *, uninstalled: bool = False) -> tuple[str, ...]:
        """Continue the deletion and return the objects that remain; () if the namespace is not ours.

        `uninstalled`: the objects of the environment's release must go as well.
        """
        name = self._environment.host_name
        if not is_own_namespace(await self._host.get_namespace(name), self._environment.mark):
            return ()
        ending = await self._host.force_delete(name, name if uninstalled else "")
        if ending.forced:
            self._lines.update(dict.fromkeys(ending.forced))
            activity_context.save_checkpoint("\n".join(list(self._lines)[:MAX_CHECKPOINT_LINES]))
        return ending.waiting_for

    @property
    def lines(self) -> tuple[str, ...]:
        """What was deleted by force so far, for the certificate."""
        lines = tuple(self._lines)
        more = len(lines) - MAX_FORCED_LINES
        return (*lines[:MAX_FORCED_LINES], f"and {more} more") if more > 0 else lines
