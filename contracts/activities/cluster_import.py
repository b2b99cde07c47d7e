"""The interfaces of what the import does beside the activities of every step."""

from abc import ABC, abstractmethod

from temporalio import activity

from contracts.activities.steps import EnsureInput
from contracts.environment.models import Environment, StepName
from contracts.types.models import Frozen

#: The activities of the import beside those of every step.
IMPORT_KEY = f"{StepName.IMPORT}.key"
IMPORT_REGISTER = f"{StepName.IMPORT}.register"
IMPORT_BOOTSTRAP = f"{StepName.IMPORT}.bootstrap"


class BootstrapKey(Frozen):
    """The public key for which the bootstrap manifest of a vCluster is sealed (X25519, base64)."""

    public_key: str


class RegisterInput(Frozen):
    """The environment to register in the control plane, and the key for its bootstrap manifest."""

    environment: Environment
    public_key: str


class SealedBootstrap(Frozen):
    """The sealed bootstrap manifest (base64), which only a worker beside the host can open.

    It is empty if the control plane reports the cluster as ready already.
    """

    sealed: str = ""


class BootstrapInput(Frozen):
    """The environment, and the sealed bootstrap manifest to apply in its vCluster."""

    environment: Environment
    sealed: str


class RegisterActivities(ABC):
    """The first part of the import, by a worker with credentials of the control plane."""

    @activity.defn(name=IMPORT_REGISTER)
    @abstractmethod
    async def register(self, input: RegisterInput) -> SealedBootstrap:
        """Ensure that the cluster record exists and is ours, and seal its bootstrap manifest."""


class BootstrapActivities(ABC):
    """The part of the import that a worker beside the host does, before `import.ensure`.

    No worker has the credentials of both systems, and the bootstrap manifest is a secret, so it goes from one
    worker to the other sealed for the vCluster.
    """

    @activity.defn(name=IMPORT_KEY)
    @abstractmethod
    async def key(self, input: EnsureInput) -> BootstrapKey:
        """Return the public key of the vCluster."""

    @activity.defn(name=IMPORT_BOOTSTRAP)
    @abstractmethod
    async def bootstrap(self, input: BootstrapInput) -> None:
        """Apply the bootstrap manifest in the vCluster; repeating it changes nothing."""
