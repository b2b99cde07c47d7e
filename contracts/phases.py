"""The words of an environment that everything knows, without the models: phases, outcomes, steps, its actor.

The command line imports this module, and not pydantic, which takes longer to import than a command may take.
"""

from enum import StrEnum

#: The actor in the audit trail for what the environment did without a request.
MOORAGE_ACTOR = "moorage"


class Phase(StrEnum):
    """The phase of an environment's life."""

    PROVISIONING = "provisioning"
    USABLE = "usable"
    READY = "ready"
    FALLING_ASLEEP = "falling_asleep"
    ASLEEP = "asleep"
    WAKING = "waking"
    TEARING_DOWN = "tearing_down"
    TEARDOWN_INCOMPLETE = "teardown_incomplete"
    GONE = "gone"
    #: Its workflow was closed from outside, so no teardown ran: what it created may still be there.
    ORPHANED = "orphaned"

    @property
    def words(self) -> str:
        """The phase as a sentence names it."""
        return self.value.replace("_", " ")


#: The phases of an environment that sleeps, or is on the way there or back: it cannot be used.
SLEEP_PHASES = frozenset({Phase.FALLING_ASLEEP, Phase.ASLEEP, Phase.WAKING})
#: The phases of an environment that was made completely and is not being torn down.
MADE_PHASES = SLEEP_PHASES | {Phase.READY}


class Outcome(StrEnum):
    """How a life ended, or is ending."""

    DELETED = "deleted"
    EXPIRED = "expired"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SleepReason(StrEnum):
    """Why an environment sleeps."""

    REQUESTED = "requested"  #: a person has put it to sleep, and it sleeps until a person wakes it
    IDLE = "idle"
    SCHEDULE = "schedule"


class StepName(StrEnum):
    """The steps, in the order in which they run."""

    PROJECT = "project"
    GROUP = "group"
    ROLE_BINDING = "role-binding"
    IDENTITY = "identity"
    NAMESPACE = "namespace"
    VCLUSTER = "vcluster"
    KUBECONFIG = "kubeconfig"
    IMPORT = "import"


class DriftKind(StrEnum):
    """The kinds of what may be missing or altered under a ready environment: its steps, guards and members.

    The guards are what the namespace step creates in the namespace: they can be restored without a loss of
    data, and a namespace cannot. Members are those of its groups: of the people who should be in a group some
    are missing, or it has others.
    """

    PROJECT = "project"
    GROUP = "group"
    ROLE_BINDING = "role-binding"
    IDENTITY = "identity"
    MEMBERS = "members"
    EXTRA_MEMBERS = "extra-members"
    NAMESPACE = "namespace"
    GUARDS = "guards"
    VCLUSTER = "vcluster"
    KUBECONFIG = "kubeconfig"
    IMPORT = "import"


class System(StrEnum):
    """The kinds of outside systems."""

    CONTROL_PLANE = "control plane"
    IDENTITY_PROVIDER = "identity provider"
    HOST_CLUSTER = "host cluster"


class StepState(StrEnum):
    """The state of one step."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    UNDO_FAILED = "undo failed"
