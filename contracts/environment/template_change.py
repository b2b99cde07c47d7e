"""Changes of an environment's template in place: what can change, and the change in progress."""

import re
from collections.abc import Iterator
from datetime import datetime

from contracts.environment.chart_values import ETCD, compose_values, value_at
from contracts.environment.models import Environment
from contracts.expiry import format_utc
from contracts.templates.template import Template
from contracts.types.durations import format_duration

#: Parts of the chart's values that Kubernetes or vCluster cannot change under existing data, with words.
_FIXED_VALUES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("controlPlane", "backingStore"), "where the vCluster keeps its state"),
    (("controlPlane", "statefulSet", "persistence"), "the volume of the vCluster"),
    ((*ETCD, "statefulSet", "persistence"), "the volumes of its etcd"),
    (("exportKubeConfig",), "the account of its kubeconfig"),
)
#: Fields of a template that are applied once, with words.
_FIXED_FIELDS = {
    "role": "the role of its group in the control plane",
    "blueprint": "the control plane's blueprint of it",
    "network": "where its pods may connect to",
    "pod_security": "what the host keeps its pods from",
}


def in_place_problems(before: Environment, after: Environment) -> Iterator[str]:
    """Yield a sentence for everything that cannot be changed under an environment in use."""
    old, new = before.template, after.template
    for field, words in _FIXED_FIELDS.items():
        if getattr(old, field) != getattr(new, field):
            yield f"{words} ({field}) is set once"
    yield from _version_problems(old, new)
    values_before, values_after = compose_values(before), compose_values(after)
    for path, words in _FIXED_VALUES:
        if value_at(values_before, *path) != value_at(values_after, *path):
            yield f"{words} ({'.'.join(path)}) is set once"


def term_problem(before: Template, after: Template, expires_at: datetime, now: datetime) -> str:
    """Return why the end of an environment is too late for another template; "" if it is not.

    A newer version of the same template leaves the end as it was granted.
    """
    longest = after.ttl.maximum
    if after.name == before.name or expires_at - now <= longest:
        return ""
    return f"it ends {format_utc(expires_at)}, and {after.name} lasts at most {format_duration(longest)}"


def _version_problems(old: Template, new: Template) -> Iterator[str]:
    kubernetes = _numbers(old.kubernetes), _numbers(new.kubernetes)
    if kubernetes[1] < kubernetes[0]:
        yield f"Kubernetes {old.kubernetes} cannot become the older {new.kubernetes}"
    elif kubernetes[1][1] > kubernetes[0][1] + 1:
        yield f"Kubernetes {old.kubernetes} becomes {new.kubernetes} only by one minor version at a time"
    if old.chart.name.rpartition("/")[2] != new.chart.name.rpartition("/")[2]:
        yield f"the chart {old.chart.name} cannot become {new.chart.name}"
    elif _numbers(new.chart.version) < _numbers(old.chart.version):
        yield f"version {old.chart.version} of the chart cannot become the older {new.chart.version}"


def _numbers(version: str) -> tuple[int, int, int]:
    found = [int(part[:6]) for part in re.findall(r"\d+", version.partition("-")[0])[:3]]
    major, minor, patch = [*found, 0, 0, 0][:3]
    return major, minor, patch


def describe_template(template: Template) -> str:
    """Return the name and the version of a template."""
    return f"{template.name} version {template.version}"
