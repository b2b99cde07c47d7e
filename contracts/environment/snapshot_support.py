"""Which vClusters can take snapshots, and where these are: pure rules about templates.

A snapshot has the objects of the virtual cluster, and nothing of the volumes of its workloads. It is on the
volume of the vCluster itself, so it survives a restart and an upgrade, and ends with the environment.
"""

import re
from datetime import datetime

from contracts.environment.chart_values import value_at
from contracts.environment.models import KEPT_SNAPSHOTS
from contracts.templates.template import Template

#: The first release whose control plane takes snapshots on request.
FIRST_CHART = (0, 29)
#: What a snapshot leaves out, as a clause.
LEFT_OUT = "the volumes of its workloads are left out"
#: Where the chart mounts the volume of the vCluster.
_FOLDER = "/data/moorage-snapshots"

_BACKING_STORE = ("controlPlane", "backingStore")
_STATEFUL_SET = ("controlPlane", "statefulSet")


def snapshot_obstacle(template: Template) -> str:
    """Return why its vCluster takes no snapshots, as a clause; "" if it does."""
    version, values = template.chart.version, template.values
    release = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.|$)", version)
    if release and (int(release[1]), int(release[2])) < FIRST_CHART:
        first = ".".join(map(str, FIRST_CHART))
        return f"its vCluster chart {version} takes none, which {first} and later do"
    if value_at(values, *_BACKING_STORE, "etcd", "deploy", "enabled"):
        return "its vCluster keeps its objects in a separate etcd, from which there is no way back"
    if value_at(values, *_BACKING_STORE, "database", "external", "enabled"):
        return "its vCluster keeps its objects in a database outside of the environment"
    if value_at(values, *_STATEFUL_SET, "persistence", "volumeClaim", "enabled") is False:
        return "its vCluster has no volume on which they would be"
    replicas = value_at(values, *_STATEFUL_SET, "highAvailability", "replicas")
    if isinstance(replicas, int) and replicas > 1:
        return f"its vCluster has {replicas} replicas, each with a separate volume"
    return ""


def request_name(host_name: str, number: int, asked_at: datetime | None = None) -> str:
    """Return the name of the request for a snapshot in the namespace, which no other of it has.

    The numbers of snapshots begin again when the record of an environment is lost, and the vCluster keeps a
    request for a day: without the moment, that of before would be taken for the new one.
    """
    return f"{host_name}-snapshot-{number}{f'-{_moment(asked_at)}' if asked_at else ''}"


def restore_attempt(started_at: datetime, tries: int) -> str:
    """Return the name of an attempt to restore a snapshot, which no other of the environment has."""
    return f"{_moment(started_at)}-{tries}"


def _moment(at: datetime) -> str:
    """Return the millisecond, short and fit for a name."""
    return f"{int(at.timestamp() * 1000):x}"


def restore_name(host_name: str, attempt: str) -> str:
    """Return the name of the pod that restores a snapshot."""
    return f"{host_name}-restore-{attempt}"


def snapshot_path(number: int) -> str:
    """Return the file of a snapshot within the vCluster.

    There is one more of them than snapshots that are kept: so one that fails half-way has damaged none.
    """
    return f"{_FOLDER}/{number % (KEPT_SNAPSHOTS + 1)}.tar.gz"
