"""Compares the guards of a namespace with what they should be, by meaning and not by text. Pure functions.

Quantities are compared as numbers and network rules as what they allow. Fields that the API server adds are
no difference, and neither are objects of others, nor limits that others have added to the quota: server-side
apply leaves those alone, and they only make it stricter.
"""

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from contracts.types.naming import OwnerMark
from contracts.types.quantities import parse_quantity

Object = Mapping[str, Any]

#: The kinds of the guards, with their words in sentences.
GUARD_WORDS = {"ResourceQuota": "quota", "LimitRange": "limit range", "NetworkPolicy": "network policy"}
_POD_SECURITY = "pod-security.kubernetes.io/"
#: Fields of a rule in each direction that name its peers.
_PEERS = {"ingress": "from", "egress": "to"}
#: The policy with the addresses of the host's API servers. One that is restarting is missing in what the host
#: says of itself, and must not be locked out: a further single address at their ports is no difference.
_API_SERVERS = "moorage-host-api"
#: Fields of a limit range that the API server fills from others, in the order in which it looks.
_FILLED_FROM = {"default": ("max",), "defaultRequest": ("default", "max", "min")}


def label_differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return what differs in the pod security labels of a namespace, one sentence for each."""
    return [
        f"pod security {label.removeprefix(_POD_SECURITY)} is {found.get(label) or 'not set'} "
        f"and should be {value}"
        for label, value in wanted.items()
        if found.get(label) != value
    ]


def guard_differences(wanted: Iterable[Object], found: Iterable[Object], mark: OwnerMark) -> list[str]:
    """Return what differs between the wanted guards and those that are there, one sentence for each."""
    there = {(each.get("kind"), each["metadata"]["name"]): each for each in found}
    differences: list[str] = []
    for guard in wanted:
        kind, name = str(guard["kind"]), str(guard["metadata"]["name"])
        now = there.get((kind, name))
        if now is None:
            differences.append(f"{GUARD_WORDS[kind]} {name} is missing")
            continue
        if not mark.matches_labels(now["metadata"].get("labels") or {}):
            differences.append(f"{GUARD_WORDS[kind]} {name} does not bear the owner mark")
        spec, spec_now = guard.get("spec") or {}, now.get("spec") or {}
        if kind == "ResourceQuota":
            differences += _quota(spec, spec_now)
        elif kind == "LimitRange":
            differences += _limit_range(spec, spec_now)
        else:
            differences += _network_policy(name, spec, spec_now)
    return differences


def _quota(wanted: Object, found: Object) -> Iterator[str]:
    hard = found.get("hard") or {}
    for field, value in (wanted.get("hard") or {}).items():
        if not _is_same(value, hard.get(field)):
            yield f"quota {field} is {_shown(field, hard.get(field))} and should be {_shown(field, value)}"
    if scopes := [*(found.get("scopes") or []), *_scope_names(found)]:
        yield f"quota scopes are {', '.join(map(str, scopes))} and should not be set"


def _scope_names(spec: Object) -> list[str]:
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    return [str(each.get("scopeName")) for each in expressions]


def _limit_range(wanted: Object, found: Object) -> Iterator[str]:
    before, now = _limits(wanted), _limits(found)
    for path, value in before.items():
        if not _is_same(value, now.get(path)):
            yield (
                f"limit range {' '.join(path)} is {_shown(path[-1], now.get(path))} "
                f"and should be {_shown(path[-1], value)}"
            )
    for path, value in now.items():
        kind, field, resource = path
        filled = [
            now[source] for name in _FILLED_FROM.get(field, ()) if (source := (kind, name, resource)) in now
        ]
        if path not in before and not (filled and _is_same(filled[0], value)):
            yield f"limit range {' '.join(path)} is {_shown(resource, value)} and should not be set"


def _limits(spec: Object) -> dict[tuple[str, str, str], Any]:
    return {
        (str(item.get("type")), field, resource): value
        for item in spec.get("limits") or []
        for field, values in item.items()
        if isinstance(values, Mapping)
        for resource, value in values.items()
    }


def _is_same(wanted: Any, found: Any) -> bool:
    if found is None:
        return False
    try:
        return parse_quantity(str(wanted)) == parse_quantity(str(found))
    except ValueError:
        return str(wanted) == str(found)


def _shown(field: str, value: Any) -> str:
    """Return a quantity for a sentence: CPUs as a plain number, all else as it is written."""
    if value is None:
        return "not set"
    if field.endswith("cpu"):
        try:
            return f"{parse_quantity(str(value)):f}"
        except ValueError:
            pass
    return str(value)


class _Allowed(NamedTuple):
    """One thing that a rule allows: a peer at a port; an IP block excludes the networks `without`."""

    peer: str
    port: str
    without: tuple[str, ...] = ()

    def covers(self, wanted: "_Allowed") -> bool:
        """Return whether it is the same, or excludes more networks."""
        if (self.peer, self.port) != (wanted.peer, wanted.port):
            return False
        own = [ipaddress.ip_network(each) for each in self.without]
        needed = [ipaddress.ip_network(each) for each in wanted.without]
        return all(
            any(one.version == each.version and each.subnet_of(one) for one in own)  # type: ignore[arg-type]
            for each in needed
        )

    @property
    def is_one_address(self) -> bool:
        """Whether the peer is an IP block of one address."""
        try:
            return ipaddress.ip_network(self.peer).num_addresses == 1
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.peer} at {self.port}"


def _network_policy(name: str, wanted: Object, found: Object) -> Iterator[str]:
    what = f"network policy {name}"
    pods, pods_now = (_selector(spec.get("podSelector")) for spec in (wanted, found))
    if pods != pods_now:
        yield f"{what} podSelector is {pods_now} and should be {pods}"
    types, types_now = (sorted(spec.get("policyTypes") or []) for spec in (wanted, found))
    if types != types_now:
        yield f"{what} policyTypes is {', '.join(types_now) or 'not set'} and should be {', '.join(types)}"
    # Rules of a direction that is not among the types have no effect.
    for direction in (each.lower() for each in types):
        allowed, allowed_now = (list(_allowed(spec, direction)) for spec in (wanted, found))
        extra = [each for each in allowed_now if not any(each.covers(one) for one in allowed)]
        if name == _API_SERVERS:
            ports = {each.port for each in allowed}
            extra = [each for each in extra if not (each.is_one_address and each.port in ports)]
        lacking = [each for each in allowed if not any(one.covers(each) for one in allowed_now)]
        if extra:
            yield f"{what} {direction} allows {_first(extra)} and should not"
        # What excludes too few networks is named once.
        kept = {(each.peer, each.port) for each in extra}
        if lacking := [each for each in lacking if (each.peer, each.port) not in kept]:
            yield f"{what} {direction} does not allow {_first(lacking)} and should"


def _first(allowed: Sequence[_Allowed]) -> str:
    more = f" and {len(allowed) - 1} more" if len(allowed) > 1 else ""
    without = " with too few exceptions" if allowed[0].without else ""
    return f"{allowed[0]}{without}{more}"


def _allowed(spec: Object, direction: str) -> Iterator[_Allowed]:
    """Yield everything that the rules of a direction allow: each peer with each port."""
    for rule in spec.get(direction) or []:
        peers = [_peer(each) for each in rule.get(_PEERS[direction]) or []] or [("everything", ())]
        ports = [_port(each) for each in rule.get("ports") or []] or ["every port"]
        for (peer, without), port in product(peers, ports):
            yield _Allowed(peer, port, without)


def _peer(peer: Object) -> tuple[str, tuple[str, ...]]:
    if block := peer.get("ipBlock"):
        networks = [ipaddress.ip_network(each, strict=False) for each in block.get("except") or []]
        collapsed = ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
        cidr = ipaddress.ip_network(str(block.get("cidr")), strict=False)
        return str(cidr), tuple(map(str, collapsed))
    pods, namespaces = peer.get("podSelector"), peer.get("namespaceSelector")
    words = [f"pods with {_selector(pods)}"] if pods is not None else ["all pods"]
    words += [f"in namespaces with {_selector(namespaces)}"] if namespaces is not None else []
    return " ".join(words), ()


def _port(port: Object) -> str:
    number, last = port.get("port"), port.get("endPort")
    numbers = "every port" if number is None else f"{number}-{last}" if last else str(number)
    return f"{numbers}/{port.get('protocol') or 'TCP'}"


def _selector(selector: Object | None) -> str:
    """Return the selector as text; the same for all that select the same by equal labels."""
    found = selector or {}
    parts = [f"{key}={value}" for key, value in (found.get("matchLabels") or {}).items()]
    for each in found.get("matchExpressions") or []:
        values = sorted(each.get("values") or [])
        if each.get("operator") == "In" and len(values) == 1:
            parts.append(f"{each.get('key')}={values[0]}")
        else:
            parts.append(f"{each.get('key')} {each.get('operator')} {json.dumps(values)}")
    return ", ".join(sorted(parts)) or "any label"
