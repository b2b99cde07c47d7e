"""What a host's admission lets in, as set-up tells it: by what its policy asks of a namespace."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from clients.errors import Rejected
from clients.host import LABEL_POD_SECURITY, Host
from contracts.naming import LABEL_INSTALLATION
from starter.setup.areas import Area
from starter.setup.hosts import HostCluster
from starter.setup.parts import Found, Kind, Part, well

INSTALLATION = "ours000000"

Policy = Callable[[Mapping[str, str]], bool]


class Admitting:
    """A host of which only the admission is asked."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.asked: list[str] = []

    async def rehearse_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        self.asked.append(name)
        if not self._policy(labels):
            raise Rejected("host h", f"create namespace {name}", "the words of its policy")


def is_ours(labels: Mapping[str, str]) -> bool:
    """What the policy asked for at first."""
    return labels.get(LABEL_INSTALLATION) == INSTALLATION


def is_secured(labels: Mapping[str, str]) -> bool:
    """What it asks for besides."""
    return labels.get(LABEL_POD_SECURITY) in ("baseline", "restricted")


async def admission(policy: Policy) -> tuple[Found, Admitting]:
    async def fine() -> Found:
        return well("fine")

    host = Admitting(policy)
    cluster = HostCluster("h", cast(Host, host), INSTALLATION, "mrg", lambda: ())
    files = Part(Area.FILES, "templates", "catalogue", "here", fine)
    [part] = [each for each in cluster.parts(files) if each.name == "admission"]
    return await part.check(), host


@pytest.mark.parametrize(
    ("policy", "kind", "words"),
    [
        (lambda labels: is_ours(labels) and is_secured(labels), Kind.WELL, "can be made, and no others"),
        (lambda _: True, Kind.WELL, "and others: the policy of deploy/rbac.yaml does not hold us"),
        (is_ours, Kind.REFUSED, "a namespace without pod security: its policy is of an older"),
        (lambda _: False, Kind.REFUSED, "will not let us make a namespace: the words of its policy"),
    ],
    ids=["as-shipped", "none", "older", "of-another-installation"],
)
async def test_what_a_policy_lets_in(policy: Any, kind: Kind, words: str) -> None:
    """Ensures that a policy which does not hold, holds too little, or is for others is told."""
    found, host = await admission(policy)
    assert found.kind is kind, found
    assert words in found.detail
    if kind is Kind.REFUSED:
        assert "apply deploy/rbac.yaml for this installation" in found.remedy
        assert INSTALLATION in found.remedy
    assert {name.partition("-")[0] for name in host.asked} == {"mrg"}, "a name that could not be ours"
