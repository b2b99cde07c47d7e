"""What a stack consists of, and how it can be made to differ from the usual one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from contracts.environment_workflow import LifecycleTimeouts

#: How far the worker and the stand-ins give way to the API and to Temporal, in steps of `nice`: people who
#: look at the page or a list do not wait for the work on environments.
BACKGROUND_NICENESS = 5
#: All is on one machine: an answer that takes longer than this will not come.
TIMEOUT = timedelta(seconds=10)


class Part(StrEnum):
    """The parts of a stack. Without the directory there is no identity provider.

    Without the OpenID provider people have tokens and no sign-in.

    Without the codec server the Web UI shows encrypted payloads as they are.
    """

    TEMPORAL = "Temporal server"
    CONTROL_PLANE = "control plane"
    DIRECTORY = "directory"
    HOST = "host"
    OPENID_PROVIDER = "OpenID provider"
    WORKER = "worker"
    API = "API"
    CODEC_SERVER = "codec server"


#: The parts that share a process, in which `embedded.standins` serves them.
STAND_INS = frozenset({Part.CONTROL_PLANE, Part.DIRECTORY, Part.HOST, Part.OPENID_PROVIDER})


@dataclass(frozen=True)
class Person:
    """A user who has a token for the API of this stack, and is known to its systems."""

    email: str
    teams: tuple[str, ...] = ("local",)
    role: str = "developer"


#: The user at the machine.
LOCAL_PERSON = Person("alice@example.com", role="platform")
#: Those who can sign in at the OpenID provider beside the people with a token: a developer and a team mate.
SIGN_IN_PEOPLE = (Person("bob@example.com"), Person("carol@example.com"))
#: Known to the directory and to the control plane, so that they can be named as collaborators.
KNOWN_PEOPLE = tuple(f"{name}@example.com" for name in ("bob", "carol", "dave", "erin", "frank"))


@dataclass(frozen=True)
class Options:
    """Options of a stack. Ports that are not given are those of the last run, or new ones.

    `people` all get a token; the first of them is the local person. `timeout` is the longest wait for one
    response of any system. `environment` is added to that of the worker and the API: any setting.
    `environment_of` is added to that of one of the two, or of the Temporal server. `stand_ins` has further
    options of a stand-in, see `embedded.standin_options`; those in `own_process` do not share one with the
    others. `timeouts` None means the defaults of the settings. `temporal_command` starts a Temporal server
    instead of the dev server; it gets `--folder`, `--port`, `--http-port` and `--metrics-port`, and serves
    our search attributes. `background_niceness` is that of worker and stand-ins. `waits_for_host`: the start
    waits until the host has reported; off where the worker gets no work yet.
    """

    fresh: bool = False
    api_port: int | None = None
    ui_port: int | None = None
    temporal_port: int | None = None
    parts: frozenset[Part] = frozenset(Part)
    people: tuple[Person, ...] = (LOCAL_PERSON,)
    timeout: timedelta = TIMEOUT
    timeouts: LifecycleTimeouts | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_of: Mapping[Part, Mapping[str, str]] = field(default_factory=dict)
    stand_ins: Mapping[Part, Mapping[str, Any]] = field(default_factory=dict)
    own_process: frozenset[Part] = frozenset()
    temporal_command: tuple[str, ...] = ()
    background_niceness: int = BACKGROUND_NICENESS
    waits_for_host: bool = True
