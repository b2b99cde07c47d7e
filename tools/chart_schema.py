"""The part of the chart's values.schema.json that describes `settings`, generated from the models.

Not values are the settings that the chart makes itself (files, ports, addresses of metrics), secrets, which
have their place below `secrets`, and settings of the simulated host.
"""

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import StringConstraints
from pydantic.fields import FieldInfo

from worker.settings.models import Settings
from worker.settings.sources import SettingPath, field_at, is_secret, paths
from worker.settings.types import HostName

SCHEMA = Path(__file__).resolve().parents[1] / "deploy" / "chart" / "values.schema.json"
#: Settings of the simulated host alone.
_SIMULATED = frozenset({"hosts.<name>.url", "hosts.<name>.ca_file"})
#: Settings that the chart makes: no value may contradict its volumes, ports and probes.
MADE_BY_THE_CHART = frozenset(
    {
        "templates",
        "hosts.<name>.kubeconfig",
        "api.bind",
        "api.port",
        "api.tokens_file",
        "api.issuers_file",
        "api.metrics",
        "codec_server.bind",
        "codec_server.port",
        "codec_server.trust_same_user",
        "worker.metrics",
        "audit_log.file",
    }
)
#: Lengths of time, as `contracts.types.durations` reads them.
_DURATION = r"^\s*(\d{1,6}\s*[wdhmsWDHMS]\s*)+$|^P"

Schema = dict[str, Any]


def updated_schema() -> str:
    """Return the text that values.schema.json should have."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["definitions"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def settings_schema() -> Schema:
    """Return the schema of the value `settings`."""
    root = _group()
    for path in values_paths():
        group = root
        for part, name in itertools.pairwise(path):
            if name == "<name>":
                group = group["properties"].setdefault(part, _mapping(part))
            elif part == "<name>":
                group = group["additionalProperties"]
            else:
                group = group["properties"].setdefault(part, _group())
        field = field_at(Settings, path)
        if field is not None:
            group["properties"][path[-1]] = {"description": field.description or "", **_leaf(path, field)}
    # The chart sets the kind of a host, and a host needs nothing else.
    root["required"] = ["installation", "control_plane", "hosts"]
    root["properties"]["control_plane"]["required"] = ["url"]
    root["properties"]["hosts"]["minProperties"] = 1
    return root


def values_paths() -> Iterator[SettingPath]:
    """Yield the paths of all settings that are values of the chart."""
    for path in paths(Settings):
        field = field_at(Settings, path)
        not_values = MADE_BY_THE_CHART | _SIMULATED
        if field and not is_secret(field.annotation) and ".".join(path) not in not_values:
            yield path


def _group() -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _mapping(name: str) -> Schema:
    names = {"propertyNames": _pattern(*_metadata(HostName))} if name == "hosts" else {}
    return {"type": "object", **names, "additionalProperties": _group()}


def _leaf(path: SettingPath, field: FieldInfo) -> Schema:
    if path == ("hosts", "<name>", "kind"):
        return {"enum": ["kubernetes"]}
    if path[-1] == "labels":
        return {"type": ["object", "string"], "additionalProperties": {"type": "string"}}
    parts = set(_parts(field.annotation))
    for part, schema in (
        (timedelta, {"type": "string", "pattern": _DURATION}),
        (bool, {"type": "boolean"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
    ):
        if part in parts:
            return {**schema, **_limits(field)}
    if choices := [part for part in parts if isinstance(part, type) and issubclass(part, Enum)]:
        return {"enum": [each.value for each in choices[0]]}
    if tuple in parts:
        return {"type": ["array", "string"], "items": {"type": "string"}}
    if path[-1] in ("cpu", "memory"):
        return {"type": ["string", "number"]}
    return {"type": "string", **_pattern(*field.metadata, *_metadata(field.annotation))}


def _limits(field: FieldInfo) -> Schema:
    limits: Schema = {}
    for each in field.metadata:
        if isinstance(each, Ge):
            limits["minimum"] = each.ge
        elif isinstance(each, Le):
            limits["maximum"] = each.le
    return limits


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the plain types in an annotation."""
    if isinstance(annotation, type):
        yield annotation
    if get_origin(annotation) is tuple:
        yield tuple
    elif get_origin(annotation) is not Literal:
        for each in get_args(annotation):
            yield from _parts(each)


def _metadata(annotation: Any) -> Iterator[Any]:
    """Yield what the annotation has beside its type."""
    yield from getattr(annotation, "__metadata__", ())
    for each in get_args(annotation):
        yield from _metadata(each)


def _pattern(*metadata: Any) -> Schema:
    patterns = (each.pattern for each in metadata if isinstance(each, StringConstraints))
    return {"pattern": pattern} if (pattern := next(patterns, None)) else {}
