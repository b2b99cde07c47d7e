"""What a stack consists of, and how it can be made to differ from the usual one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from contracts.environment_workflow import LifecycleTimeouts

#: All is on one machine: an answer that takes longer than this will not come.
TIMEOUT = timedelta(seconds=10)


class Part(StrEnum):
    """The processes of a stack. The directory may be left out: then there is no identity provider.

    So may the codec server: then the Web UI shows what is encrypted as it is.
    """

    TEMPORAL = "Temporal server"
    CONTROL_PLANE = "control plane"
    DIRECTORY = "directory"
    HOST = "host"
    WORKER = "worker"
    API = "API"
    CODEC_SERVER = "codec server"


@dataclass(frozen=True)
class Person:
    """Somebody who has a token for the API of this stack, and is known to its systems."""

    email: str
    teams: tuple[str, ...] = ("local",)
    role: str = "developer"


#: Who sits at the machine.
LOCAL_PERSON = Person("alice@example.com", role="platform")
#: Known to the directory and to the control plane, so that they can be named as collaborators.
KNOWN_PEOPLE = tuple(f"{name}@example.com" for name in ("bob", "carol", "dave", "erin", "frank"))


@dataclass(frozen=True)
class Options:
    """How a stack is to be. Ports and secrets that are not given are those of the last run, or new ones.

    `ports` and `secrets` are those of the stand-ins. `people` all get a token; the first of them is the
    local person. `timeout` is the longest wait for one answer of any system. `environment` is added to that
    of the worker and the API: any setting. `environment_of` is added to that of one of the two. `arguments`
    are added to the command of a stand-in. `pace` None is that of the settings' defaults.
    """

    fresh: bool = False
    api_port: int | None = None
    ui_port: int | None = None
    temporal_port: int | None = None
    ports: Mapping[Part, int] = field(default_factory=dict)
    secrets: Mapping[Part, str] = field(default_factory=dict)
    parts: frozenset[Part] = frozenset(Part)
    people: tuple[Person, ...] = (LOCAL_PERSON,)
    timeout: timedelta = TIMEOUT
    pace: LifecycleTimeouts | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_of: Mapping[Part, Mapping[str, str]] = field(default_factory=dict)
    arguments: Mapping[Part, tuple[str, ...]] = field(default_factory=dict)
