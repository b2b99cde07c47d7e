"""The reported progress of a start, from object shapes as Kubernetes 1.36 was seen to give them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clients.kubernetes.release.startup_status import (
    MAX_CRASHES,
    PULL_TIMEOUT,
    REFUSAL_TIMEOUT,
    Observation,
    startup_of,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NO_SUCH_IMAGE = (
    'Back-off pulling image "moorage.test/vcluster:9": ErrImagePull: rpc error: code = NotFound desc = '
    'failed to pull and unpack image "moorage.test/vcluster:9": moorage.test/vcluster:9: not found'
)
NO_SUCH_HOST = (
    'Back-off pulling image "moorage.test/vcluster:9": ErrImagePull: failed to do request: Head '
    '"https://moorage.test/v2/vcluster/manifests/9": dial tcp: lookup moorage.test: no such host'
)
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available"
QUOTA = (
    'create Pod mrg-a-0 in StatefulSet mrg-a failed error: pods "mrg-a-0" is forbidden: exceeded quota: '
    "moorage, requested: limits.memory=2Gi, used: limits.memory=0, limited: limits.memory=1Gi"
)


def stamp(age: timedelta) -> str:
    return (NOW - age).strftime("%Y-%m-%dT%H:%M:%SZ")


def controller(age: timedelta = timedelta(seconds=30)) -> dict[str, Any]:
    return {"kind": "StatefulSet", "metadata": {"name": "mrg-a", "creationTimestamp": stamp(age)}}


def pod(age: timedelta = timedelta(seconds=30), **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "mrg-a-0", "creationTimestamp": stamp(age)}, "status": status}


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


def container(**state: Any) -> dict[str, Any]:
    return {"name": "syncer", "image": "moorage.test/vcluster:9", "restartCount": 0, **state}


def event(name: str, reason: str, message: str, kind: str = "Warning") -> dict[str, Any]:
    return {
        "involvedObject": {"name": name},
        "reason": reason,
        "message": message,
        "type": kind,
        "lastTimestamp": stamp(timedelta(seconds=1)),
    }


UNSCHEDULED = pod(conditions=[condition("PodScheduled", "False", message=NO_ROOM)])
SCHEDULED = [condition("PodScheduled", "True")]


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(state={"waiting": {"reason": reason, "message": message}})


def claim(storage_class: str | None = None) -> dict[str, Any]:
    spec = {"storageClassName": storage_class} if storage_class else {}
    return {"metadata": {"name": "data-mrg-a-0"}, "spec": spec, "status": {"phase": "Pending"}}


def test_ready() -> None:
    """Ensures that it is ready when a pod of it is, and says nothing more."""
    ready = pod(conditions=[condition("Ready", "True")])
    startup = startup_of(Observation(NOW, [controller()], [ready]))
    assert (startup.ready, startup.waiting_for, startup.failed) == (True, "", None)


def test_a_pod_that_ends_is_not_taken_for_the_new_one() -> None:
    """Ensures that a restart waits for the new pod."""
    old = pod(conditions=[condition("Ready", "True")])
    old["metadata"]["deletionTimestamp"] = stamp(timedelta(0))
    assert not startup_of(Observation(NOW, [controller()], [old])).ready


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Observation(NOW), "controller"),
        (Observation(NOW, [controller()]), "pod to be made"),
        (Observation(NOW, [controller()], [pod(conditions=SCHEDULED)]), "images and files"),
        (
            Observation(
                NOW, [controller()], [pod(conditions=[*SCHEDULED, condition("Initialized", "True")])]
            ),
            "virtual API server",
        ),
        (
            Observation(
                NOW, [controller()], [pod(conditions=[condition("PodScheduled", "False", message=NO_ROOM)])]
            ),
            "pod pending: 0/1 nodes are available: 1 Insufficient cpu",
        ),
        (
            Observation(
                NOW,
                [controller()],
                [pod(conditions=SCHEDULED)],
                events=[event("mrg-a-0", "FailedMount", 'secret "vc-config-mrg-a" not found')],
            ),
            'pod held up: secret "vc-config-mrg-a" not found',
        ),
    ],
)
def test_slow(seen: Observation, words: str) -> None:
    """Ensures that a problem that time may solve is reported, and never taken for a failure."""
    startup = startup_of(seen)
    assert not startup.ready
    assert words in startup.waiting_for
    assert startup.failed is None


@pytest.mark.parametrize(
    ("status", "age", "for_good"),
    [
        (waiting("ImagePullBackOff", NO_SUCH_IMAGE), timedelta(seconds=5), True),
        (waiting("InvalidImageName"), timedelta(seconds=1), True),
        (waiting("ErrImagePull", NO_SUCH_HOST), timedelta(seconds=5), False),
        (waiting("ImagePullBackOff", NO_SUCH_HOST), PULL_TIMEOUT, True),
    ],
)
def test_images(status: dict[str, Any], age: timedelta, for_good: bool) -> None:
    """Ensures that a missing image fails at once, and a registry that cannot be reached only in time."""
    seen = Observation(NOW, [controller()], [pod(age, conditions=SCHEDULED, initContainerStatuses=[status])])
    startup = startup_of(seen)
    assert "moorage.test/vcluster:9" in startup.waiting_for
    assert (startup.failed is not None) is for_good


def test_image_pull_back_off_in_words() -> None:
    """Ensures that the sentence begins with what it is and ends with what the registry said."""
    seen = Observation(
        NOW,
        [controller()],
        [pod(conditions=SCHEDULED, containerStatuses=[waiting("ImagePullBackOff", NO_SUCH_IMAGE)])],
    )
    failed = startup_of(seen).failed
    assert failed is not None
    assert failed.startswith("image pull back-off: moorage.test/vcluster:9")
    assert failed.endswith("not found")


@pytest.mark.parametrize(("crashes", "for_good"), [(1, False), (MAX_CRASHES, True)])
def test_crashes(crashes: int, for_good: bool) -> None:
    """Ensures that a crash is reported at once, and taken for final when it repeats."""
    crashed = container(
        restartCount=crashes,
        state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}},
        lastState={"terminated": {"exitCode": 1, "reason": "Error", "message": "no objects passed to apply"}},
    )
    startup = startup_of(
        Observation(NOW, [controller()], [pod(conditions=SCHEDULED, containerStatuses=[crashed])])
    )
    assert "no objects passed to apply" in startup.waiting_for
    assert (startup.failed is not None) is for_good


@pytest.mark.parametrize(("age", "for_good"), [(timedelta(seconds=1), False), (REFUSAL_TIMEOUT, True)])
def test_refused_pod(age: timedelta, for_good: bool) -> None:
    """Ensures that a quota's refusal is reported in its own words, and is final after a moment."""
    seen = Observation(NOW, [controller(age)], events=[event("mrg-a", "FailedCreate", QUOTA)])
    startup = startup_of(seen)
    assert startup.waiting_for.startswith("pod not admitted: exceeded quota: moorage, requested")
    assert (startup.failed is not None) is for_good


POD = "create Pod mrg-a-0 in StatefulSet mrg-a failed error: "
FORBIDDEN = f'{POD}pods "mrg-a-0" is forbidden: '
#: As controllers and API servers were seen to give them, and as the code of their admission writes them.
PASSING = [
    f'{FORBIDDEN}error looking up service account mrg-a/vc-mrg-a: serviceaccount "vc-mrg-a" not found',
    f"{FORBIDDEN}status unknown for quota: moorage, resources: limits.cpu,pods",
    f"{FORBIDDEN}not yet ready to handle request",
    f"{FORBIDDEN}User "
    '"system:serviceaccount:kube-system:statefulset-controller" cannot create resource "pods"',
    f'{POD}Internal error occurred: failed calling webhook "v.kyverno.svc": failed to call webhook: Post '
    '"https://kyverno-svc.kyverno.svc:443/validate?timeout=10s": context deadline exceeded',
    "Error creating: Internal error occurred: failed calling admission "
    'webhook "sidecar-injector.istio.io": Post '
    "https://istio-sidecar-injector.istio-system.svc:443/inject?timeout=30s: net/http: request canceled "
    "(Client.Timeout exceeded while awaiting headers)",
    f'{POD}Internal error occurred: failed calling webhook "x": failed to '
    'call webhook: Post "https://x.y.svc": '
    'no endpoints available for service "x"',
    f"{POD}Internal error occurred: resource quota evaluation timed out",
    f"{POD}etcdserver: leader changed",
    f"{POD}etcdserver: request timed out",
    f'{POD}Operation cannot be fulfilled on resourcequotas "moorage": the '
    "object has been modified; please apply "
    "your changes to the latest version and try again",
    f"{POD}Timeout: request did not complete within requested timeout - context deadline exceeded",
    f"{POD}The POST operation against Pod could not be completed at this time, please try again.",
    f"{POD}the server is currently unable to handle the request",
    f'{POD}Post "https://10.0.0.1:443/api/v1/namespaces/mrg-a/pods": dial '
    "tcp 10.0.0.1:443: connection refused",
    f'{POD}object is being deleted: pods "mrg-a-0" already exists',
    f'{POD}pvc "data-mrg-a-0" is being deleted',
    f'{POD}namespaces "mrg-a" not found',
    f"{POD}words never seen before",
]
DENIALS = [
    QUOTA,
    f"{FORBIDDEN}failed quota: moorage: must specify limits.cpu for: syncer; limits.memory for: syncer",
    f"{FORBIDDEN}maximum cpu usage per Container is 1, but limit is 2",
    f'{FORBIDDEN}violates PodSecurity "restricted:latest": '
    'allowPrivilegeEscalation != false (container "syncer" '
    "must set securityContext.allowPrivilegeEscalation=false)",
    f"{FORBIDDEN}no PriorityClass with name high was found",
    f"{FORBIDDEN}unable to validate against any security context constraint: []",
    f"{FORBIDDEN}unable to create new content in namespace mrg-a because it is being terminated",
    f"{FORBIDDEN}ValidatingAdmissionPolicy 'images' with binding 'images' "
    "denied request: of our registry only",
    f'{POD}admission webhook "validation.gatekeeper.sh" denied the request: [tags] timed out is no tag',
    f'{POD}Pod "mrg-a-0" is invalid: spec.containers[0].resources.requests: Invalid value: "3": must be less '
    "than or equal to cpu limit of 2",
]


@pytest.mark.parametrize(
    ("message", "for_good"),
    [*((each, False) for each in PASSING), *((each, True) for each in DENIALS)],
    ids=lambda value: value[-40:] if isinstance(value, str) else str(value),
)
def test_only_a_denial_ends_a_start(message: str, for_good: bool) -> None:
    """Ensures that a temporary refusal is waited for and reported, whatever Kubernetes calls it."""
    startup = startup_of(
        Observation(NOW, [controller(timedelta(minutes=2))], events=[event("mrg-a", "FailedCreate", message)])
    )
    assert startup.waiting_for.startswith("pod not admitted: ")
    assert (startup.failed is not None) is for_good


def test_a_long_reason_keeps_its_end() -> None:
    """Ensures that the cause, which comes last in errors that wrap others, is reported."""
    message = f"failed to pull and unpack image: {'failed to resolve reference: ' * 20}unexpected status 503"
    status = waiting("ImagePullBackOff", message)
    startup = startup_of(
        Observation(NOW, [controller()], [pod(conditions=SCHEDULED, containerStatuses=[status])])
    )
    assert "failed to pull and unpack image" in startup.waiting_for
    assert startup.waiting_for.endswith("unexpected status 503")


@pytest.mark.parametrize(
    ("storage_class", "reason", "message", "words"),
    [
        (
            None,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
            "PVC data-mrg-a-0 pending: no storage class",
        ),
        (
            "fast",
            "ProvisioningFailed",
            'storageclass.storage.k8s.io "fast" not found',
            "PVC data-mrg-a-0 pending: no storage class fast",
        ),
    ],
)
def test_no_storage_class(storage_class: str | None, reason: str, message: str, words: str) -> None:
    """Ensures that an unfillable claim fails with the claim's name, not in the scheduler's words."""
    pending = pod(conditions=[condition("PodScheduled", "False", message="unbound PersistentVolumeClaims")])
    warning = event(
        "data-mrg-a-0", reason, message, kind="Normal" if reason == "FailedBinding" else "Warning"
    )
    startup = startup_of(Observation(NOW, [controller()], [pending], [claim(storage_class)], [warning]))
    assert startup.failed == words


def test_a_claim_that_waits_for_its_pod_is_no_trouble() -> None:
    """Ensures that late binding is not blamed for what is the scheduler's."""
    pending = pod(conditions=[condition("PodScheduled", "False", message=NO_ROOM)])
    startup = startup_of(Observation(NOW, [controller()], [pending], [claim("folder")]))
    assert "Insufficient cpu" in startup.waiting_for


def of_etcd(node: dict[str, Any], name: str) -> dict[str, Any]:
    """The same object as one of the etcd that the chart deploys."""
    labels = {"app": "vcluster-etcd", "release": "mrg-a"}
    return {**node, "metadata": {**node["metadata"], "name": name, "labels": labels}}


CRASHED = container(
    restartCount=MAX_CRASHES + 3,
    lastState={"terminated": {"exitCode": 1, "reason": "Error", "message": "etcd is not reachable"}},
)


@pytest.mark.parametrize(
    ("etcd", "own", "words", "failed"),
    [
        ({}, {"containerStatuses": [CRASHED]}, "etcd: ", False),
        (
            {"containerStatuses": [waiting("ImagePullBackOff", NO_SUCH_IMAGE)]},
            {"containerStatuses": [CRASHED]},
            "etcd: image pull back-off",
            True,
        ),
        (
            {"conditions": [condition("Ready", "True")]},
            {"containerStatuses": [CRASHED]},
            "etcd is not reachable",
            True,
        ),
        ({}, {"containerStatuses": [waiting("InvalidImageName")]}, "image name not valid", True),
        ({}, {"conditions": [condition("Ready", "True")]}, "", False),
    ],
    ids=["etcd is slow", "etcd has no image", "etcd is up", "own image", "ready"],
)
def test_a_deployed_etcd_comes_first(
    etcd: dict[str, Any], own: dict[str, Any], words: str, failed: bool
) -> None:
    """Ensures that a control plane may crash while its etcd starts, and that etcd's problem is reported."""
    pods = [
        of_etcd(pod(**{"conditions": SCHEDULED, **etcd}), "mrg-a-etcd-0"),
        pod(**{"conditions": SCHEDULED, **own}),
    ]
    startup = startup_of(Observation(NOW, [of_etcd(controller(), "mrg-a-etcd"), controller()], pods))
    assert words in startup.waiting_for
    assert (startup.failed is not None) is failed
    assert startup.ready is (words == "")


def test_one_ready_control_plane_of_several_is_enough() -> None:
    pods = [pod(conditions=SCHEDULED), pod(conditions=[condition("Ready", "True")])]
    assert startup_of(Observation(NOW, [controller()], pods)).ready


def test_an_etcd_whose_pods_are_refused_is_reported() -> None:
    refused = event("mrg-a-etcd", "FailedCreate", QUOTA.replace("mrg-a", "mrg-a-etcd"))
    controllers = [of_etcd(controller(), "mrg-a-etcd"), controller()]
    startup = startup_of(Observation(NOW, controllers, [pod(conditions=SCHEDULED)], events=[refused]))
    assert startup.failed is not None
    assert startup.failed.startswith("etcd: pod not admitted: exceeded quota")
