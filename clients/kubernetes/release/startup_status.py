"""The progress of a vCluster's start, in words: a pure function of Kubernetes objects.

A failure is final or only slow:

- a cause that time does not change fails the start at once: an image that its registry does not have, a pod
  that a quota or a policy refuses, a volume for which there is no storage class
- a cause that may pass fails the start when it has lasted: pulls that fail for other reasons after
  `PULL_TIMEOUT`, a container that has crashed `MAX_CRASHES` times
- all else (no room on any node, an image still being pulled, a probe not answered yet) is only slow: a node
  may be added, and the step's own time limit ends the start with these words as the cause

Ages are measured by the API server's clock alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from clients.errors import shorten
from clients.host.models import Startup
from clients.kubernetes.api.refusals import is_denial
from clients.kubernetes.api.timestamps import parse_timestamp

Object = Mapping[str, Any]

#: Time since the creation of the pod that a registry gets when it cannot be reached or throttles.
PULL_TIMEOUT = timedelta(seconds=90)
#: Time that a refused pod or claim gets, because quotas are counted and default classes are set a moment
#: later.
REFUSAL_TIMEOUT = timedelta(seconds=8)
#: A control plane that has crashed this often, in a minute and a half with Kubernetes' back-off, will crash
#: again.
MAX_CRASHES = 4
#: Label value of the etcd that the chart deploys next to the control plane.
_ETCD = "vcluster-etcd"
#: Maximum length of Kubernetes' own message within one sentence.
MAX_MESSAGE = 220

#: Reasons for which a container waits for its image, and our words for them.
_NOT_PULLED = {
    "ImagePullBackOff": "image pull back-off",
    "ErrImagePull": "image not pulled",
    "InvalidImageName": "image name not valid",
    "ErrImageNeverPull": "image not on the node, and not to be pulled",
    "RegistryUnavailable": "registry not available",
}
#: Warnings about a cause that blocks a pod; failed probes are not among them, because every start has some.
_BLOCKING_REASONS = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "Evicted"})
#: Messages of registries for an image that they do not have or do not show to us.
_NO_SUCH_IMAGE = re.compile(
    r"not found|manifest unknown|name unknown|does not exist|denied|unauthorized|invalid reference",
    re.IGNORECASE,
)
#: Unresolved names produce the same messages, but are temporary.
_NO_SUCH_HOST = re.compile(r"no such host|lookup |dial tcp", re.IGNORECASE)


@dataclass(frozen=True)
class Observation:
    """The objects of a release: controllers, pods, claims, events in its namespace; the time."""

    at: datetime
    controllers: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    events: Sequence[Object] = field(default=())


def startup_of(seen: Observation) -> Startup:
    """Return the progress of the start; never raise because a field is missing.

    One ready control plane is enough, of any number. The etcd that a chart deploys has to be ready first,
    and until then any number of crashes of the control plane is accepted.
    """
    etcd, own = _part(seen, is_etcd=True), _part(seen, is_etcd=False)
    if not own.controllers:
        return Startup(ready=False, waiting_for="the vCluster's controller to be made")
    backing = _startup_of_part(etcd, seen) if etcd.controllers else Startup(ready=True)
    startup = _startup_of_part(own, seen, may_crash=not backing.ready)
    if startup.ready or startup.failed is not None or backing.ready:
        return startup
    failed = None if backing.failed is None else f"etcd: {backing.failed}"
    return Startup(ready=False, waiting_for=f"etcd: {backing.waiting_for}", failed=failed)


def _part(seen: Observation, *, is_etcd: bool) -> Observation:
    """Return the objects of the release's etcd, or all others."""

    def chosen(objects: Sequence[Object]) -> list[Object]:
        apps = [(_mapping_at(_mapping_at(each, "metadata"), "labels").get("app"), each) for each in objects]
        return [each for app, each in apps if (app == _ETCD) is is_etcd]

    return replace(seen, controllers=chosen(seen.controllers), pods=chosen(seen.pods))


def _startup_of_part(part: Observation, seen: Observation, *, may_crash: bool = False) -> Startup:
    # Ignore terminating pods, as in a restart, because they say nothing about their replacements.
    pods = [pod for pod in part.pods if not _mapping_at(pod, "metadata").get("deletionTimestamp")]
    if not pods:
        return _startup_without_pod(part)
    if any(_condition(pod, "Ready").get("status") == "True" for pod in pods):
        return Startup(ready=True)
    return _pod_startup(pods[0], seen, may_crash=may_crash)


def _startup_without_pod(seen: Observation) -> Startup:
    names = {_name(each) for each in seen.controllers}
    refusals = [
        event
        for event in seen.events
        if event.get("reason") in ("FailedCreate", "ReplicaSetCreateError")
        and any(_subject_name(event).startswith(name) for name in names)
    ]
    if not refusals:
        return Startup(ready=False, waiting_for="the vCluster's pod to be made")
    last = max(refusals, key=lambda event: _last_seen(event) or seen.at)
    description = f"pod not admitted: {_refusal_reason(str(last.get('message', '')))}"
    made = min(_created_at(each) or seen.at for each in seen.controllers)
    # Only a denial is final: controllers try again, and most other obstacles pass.
    is_final = is_denial(str(last.get("message", ""))) and seen.at - made >= REFUSAL_TIMEOUT
    return Startup(ready=False, waiting_for=description, failed=description if is_final else None)


def _pod_startup(pod: Object, seen: Observation, *, may_crash: bool) -> Startup:
    made = _created_at(pod) or seen.at
    age = seen.at - made
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        for claim in seen.claims:
            if _mapping_at(claim, "status").get("phase") == "Pending" and (
                found := _claim_startup(claim, age, seen)
            ):
                return found
        description = f"pod pending: {_shorten(str(scheduled.get('message') or 'it has no node yet'))}"
        return Startup(ready=False, waiting_for=description)
    status = _mapping_at(pod, "status")
    for container in (*_list_at(status, "initContainerStatuses"), *_list_at(status, "containerStatuses")):
        if found := _container_startup(container, age, may_crash=may_crash):
            return found
    if trouble := _last_warning(pod, seen):
        return Startup(ready=False, waiting_for=trouble)
    if _condition(pod, "Initialized").get("status") != "True":
        return Startup(ready=False, waiting_for="the vCluster's images and files to be made ready")
    return Startup(ready=False, waiting_for="the virtual API server to come up")


def _container_startup(container: Object, age: timedelta, *, may_crash: bool) -> Startup | None:
    waiting = _mapping_at(_mapping_at(container, "state"), "waiting")
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in _NOT_PULLED:
        description = f"{_NOT_PULLED[reason]}: {container.get('image')}: {_shorten(_pull_error(message))}"
        is_final = reason in ("InvalidImageName", "ErrImageNeverPull") or (
            bool(_NO_SUCH_IMAGE.search(message)) and not _NO_SUCH_HOST.search(message)
        )
        return Startup(
            ready=False,
            waiting_for=description,
            failed=description if is_final or age >= PULL_TIMEOUT else None,
        )
    ended = _mapping_at(_mapping_at(container, "lastState"), "terminated") or _mapping_at(
        _mapping_at(container, "state"), "terminated"
    )
    crashes = int(container.get("restartCount") or 0)
    if ended and ended.get("reason") != "Completed" and not container.get("ready"):
        why = _shorten(str(ended.get("message") or ended.get("reason") or "it does not say why"))
        outcome = f"ended with {ended.get('exitCode')} ({crashes + 1} times)"
        description = f"container {container.get('name')} {outcome}: {why}"
        is_final = crashes >= MAX_CRASHES and not may_crash
        return Startup(ready=False, waiting_for=description, failed=description if is_final else None)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        description = f"container {container.get('name')} cannot be made: {_shorten(message)}"
        return Startup(
            ready=False, waiting_for=description, failed=description if age >= PULL_TIMEOUT else None
        )
    return None


def _claim_startup(claim: Object, age: timedelta, seen: Observation) -> Startup | None:
    """Return what an unbound claim waits for; None if it waits for its pod to get a node."""
    name = _name(claim)
    warnings = [e for e in seen.events if _subject_name(e) == name and e.get("type") != "Normal"]
    warnings += [e for e in seen.events if _subject_name(e) == name and e.get("reason") == "FailedBinding"]
    # A claim without a class and without a default class gets no event: no provisioner handles it, and
    # nothing reports that.
    storage_class = _mapping_at(claim, "spec").get("storageClassName")
    message = str(warnings[-1].get("message", "")) if warnings else ""
    is_final = "no storage class is set" in message or ("storageclass" in message and "not found" in message)
    if is_final:
        missing = f"no storage class {storage_class}" if storage_class else "no storage class"
        description = f"PVC {name} pending: {missing}"
        return Startup(
            ready=False, waiting_for=description, failed=description if age >= REFUSAL_TIMEOUT else None
        )
    if message:
        return Startup(ready=False, waiting_for=f"PVC {name} pending: {_shorten(message)}")
    if not storage_class:
        return Startup(ready=False, waiting_for=f"PVC {name} pending: no storage class")
    return None


def _last_warning(pod: Object, seen: Observation) -> str:
    """Return the last warning about the pod, without those of probes, which every start has."""
    warnings = [
        event
        for event in seen.events
        if event.get("type") == "Warning"
        and _subject_name(event) == _name(pod)
        and event.get("reason") in _BLOCKING_REASONS
    ]
    if not warnings:
        return ""
    last = max(warnings, key=lambda event: _last_seen(event) or seen.at)
    if (when := _last_seen(last)) and seen.at - when > PULL_TIMEOUT:
        return ""
    return f"pod held up: {_shorten(str(last.get('message', '')))}"


def _pull_error(message: str) -> str:
    """Return the end of the chain of wrapped errors: the registry's or the network's message."""
    text = message.split("ErrImagePull: ", 1)[-1].removeprefix("rpc error: code = ")
    return text.partition("desc = ")[2] or text or "the node does not say why"


def _refusal_reason(message: str) -> str:
    """Return a controller's message without the names at its start."""
    text = message.partition(" is forbidden: ")[2] or message.partition(" error: ")[2] or message
    return _shorten(text)


def _shorten(text: str) -> str:
    return shorten(text, MAX_MESSAGE).rstrip(".")


def _mapping_at(node: Any, key: str) -> Mapping[str, Any]:
    found = node.get(key) if isinstance(node, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list_at(node: Mapping[str, Any], key: str) -> Sequence[Object]:
    found = node.get(key)
    return found if isinstance(found, list) else []


def _name(node: Object) -> str:
    return str(_mapping_at(node, "metadata").get("name", ""))


def _subject_name(event: Object) -> str:
    return str((_mapping_at(event, "involvedObject") or _mapping_at(event, "regarding")).get("name", ""))


def _condition(pod: Object, kind: str) -> Mapping[str, Any]:
    conditions = _list_at(_mapping_at(pod, "status"), "conditions")
    return next((each for each in conditions if each.get("type") == kind), {})


def _created_at(node: Object) -> datetime | None:
    return parse_timestamp(_mapping_at(node, "metadata").get("creationTimestamp"))


def _last_seen(event: Object) -> datetime | None:
    return parse_timestamp(
        event.get("lastTimestamp")
        or event.get("eventTime")
        or _mapping_at(event, "metadata").get("creationTimestamp")
    )
