"""How things in an environment's namespace end that do not want to: asked for, then by force."""

from activities import activity_context
from activities.parts.host_lookup import is_own_namespace
from clients.host import Host
from contracts.environment import Environment

#: Lines of a certificate about what was forced; a tenant may have left hundreds.
MAX_FORCED = 20
#: Lines that the next try begins with: enough to say that there were more.
MAX_KEPT = MAX_FORCED + 1


class Forced:
    """Sees to the end of all in the namespace, if it bears the mark of this life, and keeps what it did."""

    def __init__(self, host: Host, environment: Environment) -> None:
        self._host = host
        self._environment = environment
        # An earlier try may have been cut off after it had done something.
        self._lines: dict[str, None] = dict.fromkeys(activity_context.kept().splitlines())

    async def look(self) -> tuple[str, ...]:
        """What is still there and has to end; nothing where the namespace is not ours."""
        name = self._environment.derived_name
        if not is_own_namespace(await self._host.get_namespace(name), self._environment.mark):
            return ()
        ending = await self._host.end_by_force(name)
        if ending.forced:
            self._lines.update(dict.fromkeys(ending.forced))
            activity_context.keep("\n".join(list(self._lines)[:MAX_KEPT]))
        return ending.waiting_for

    @property
    def lines(self) -> tuple[str, ...]:
        """What was ended by force so far, for the certificate."""
        lines = tuple(self._lines)
        more = len(lines) - MAX_FORCED
        return (*lines[:MAX_FORCED], f"and {more} more") if more > 0 else lines
