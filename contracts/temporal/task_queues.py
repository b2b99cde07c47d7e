"""The task queues of outside systems: of hosts with a worker beside them, and of systems with a rate limit.

Each such system has two, named after the two common queues: one for forward steps, one for everything else.
"""

from dataclasses import dataclass

from contracts.phases import System

#: A rate limit is for both queues of a system together, so each has this share of it.
RATE_SHARE = 0.5


def system_queue(task_queue: str, system: System, host: str) -> str:
    """Return the queue of the system beside a common queue; `host` counts for the host cluster only.

    The name of the common queue comes first, so that no name of a host can make two queues equal.
    """
    return f"{task_queue}{_suffix(system, host)}"


def is_system_queue(task_queue: str, system: System, host: str) -> bool:
    """Return whether this is a queue of the system."""
    return task_queue.endswith(_suffix(system, host))


@dataclass(frozen=True)
class OwnQueues:
    """What has task queues by the settings of a process: hosts with their own worker, and limited systems."""

    hosts: frozenset[str] = frozenset()
    systems: frozenset[System] = frozenset()

    def has(self, system: System, host: str) -> bool:
        """Return whether the system has task queues; `host` is that of the environment."""
        return host in self.hosts if system is System.HOST_CLUSTER else system in self.systems

    def of(self, host: str) -> tuple[System, ...]:
        """Return the systems with task queues for an environment on this host, always in the same order."""
        return tuple(system for system in System if self.has(system, host))


#: No system has task queues, as in an installation without these settings.
NO_OWN_QUEUES = OwnQueues()


def _suffix(system: System, host: str) -> str:
    return f"-host-{host}" if system is System.HOST_CLUSTER else f"-{system.replace(' ', '-')}"
