"""The interfaces of the activities that ask what a host has, and what the settings say of it."""

from abc import ABC, abstractmethod

from temporalio import activity

from contracts.capacity.models import (
    HostCapacity,
    PlacementDecision,
    ReservationRequest,
)
from contracts.environment.models import System
from contracts.host_requests import HostAnswer, HostRequest
from contracts.types.models import Frozen


class QueuesInput(Frozen):
    """The host of an environment, of which the workflow asks which systems have task queues."""

    host: str


class QueuesResult(Frozen):
    """The systems that have a task queue by the settings of now; `host` is the one of the input."""

    own_queues: tuple[System, ...] = ()


class QueueActivities(ABC):
    """What the settings say of task queues, which may change while an environment lives."""

    @activity.defn(name="queues.read")
    @abstractmethod
    async def read(self, input: QueuesInput) -> QueuesResult:
        """Return the systems that have a task queue now. Calls no system."""


class WakeAdmissionActivities(ABC):
    """Asks for the capacity of an environment that is to be woken."""

    @activity.defn(name="capacity.wake")
    @abstractmethod
    async def admit(self, input: ReservationRequest) -> PlacementDecision:
        """Reserve its CPU and memory again on its host, or return the refusal with what would help.

        The quotas are those of the worker's settings.
        """


class HostActivities(ABC):
    """What a worker beside a host does there for others: the capacity workflow, and the API."""

    @activity.defn(name="capacity.survey")
    @abstractmethod
    async def survey(self, input: HostCapacity) -> HostCapacity:
        """Return what the host has; `input` is what the settings say, which takes precedence."""

    @activity.defn(name="host.answer")
    @abstractmethod
    async def answer(self, input: HostRequest) -> HostAnswer:
        """Answer a request of the API; repeating it changes nothing more."""
