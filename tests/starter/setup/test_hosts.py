"""What a host's admission lets in, as set-up tells it, and the command by which it is put right."""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import yaml

from clients.errors import Denied, Rejected
from clients.host.models import LABEL_POD_SECURITY
from clients.host.protocol import Host
from contracts.types.naming import LABEL_INSTALLATION
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well
from starter.setup.hosts import HostCluster
from tests.support.stand_ins import CHECKOUT

INSTALLATION = "ours000000"

Policy = Callable[[Mapping[str, str]], bool]


class Admitting:
    """A host of which only the admission is asked."""

    def __init__(self, policy: Policy, let_in: list[str] | Denied, refused: list[str]) -> None:
        self._policy = policy
        self._refused = refused
        self._let_in = let_in
        self.asked: list[str] = []

    async def dry_run_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        self.asked.append(name)
        if not self._policy(labels):
            raise Rejected("host h", f"create namespace {name}", "the words of its policy")

    async def find_policy_gaps(self) -> list[str]:
        if isinstance(self._let_in, Denied):
            raise self._let_in
        return self._let_in

    async def find_refused_policies(self) -> list[str]:
        return self._refused


def is_ours(labels: Mapping[str, str]) -> bool:
    """What the policy asked for at first."""
    return labels.get(LABEL_INSTALLATION) == INSTALLATION


def is_secured(labels: Mapping[str, str]) -> bool:
    """What it asks for besides."""
    return labels.get(LABEL_POD_SECURITY) in ("baseline", "restricted")


def documented_commands() -> dict[str, str]:
    """Return the command that applies the rights, for each place that documents it."""
    commands = {}
    for place in ("deploy/rbac.yaml", "docs/how-to/host-cluster.md"):
        found = re.search(r"sed .* kubectl apply -f -", (CHECKOUT / place).read_text())
        assert found, f"{place} does not say any more how the rights are applied"
        commands[place] = found[0]
    return commands


def what_comes_of(command: str) -> list[str]:
    """The objects that a command of a shell prints, each as JSON, without comments."""
    done = subprocess.run(["sh", "-c", command], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return [json.dumps(each) for each in yaml.safe_load_all(done.stdout)]


async def admission(
    policy: Policy,
    prefix: str = "mrg",
    let_in: list[str] | Denied | None = None,
    refused: list[str] | None = None,
) -> tuple[Found, Admitting]:
    async def fine() -> Found:
        return well("fine")

    host = Admitting(policy, let_in or [], refused or [])
    cluster = HostCluster("h", cast(Host, host), INSTALLATION, prefix, lambda: ())
    files = SetupCheck(Area.FILES, "templates", "catalogue", "here", fine)
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
    """Ensures that a policy that is missing, too weak or of another installation is reported."""
    found, host = await admission(policy)
    assert found.kind is kind, found
    assert words in found.detail
    if kind is Kind.REFUSED:
        assert "apply deploy/rbac.yaml for this installation" in found.remedy
        assert INSTALLATION in found.remedy
    assert {name.partition("-")[0] for name in host.asked} == {"mrg"}, "a name that could not be ours"


@pytest.mark.parametrize(
    ("let_in", "words"),
    [
        (["Services with externalIPs", "pods whose probes name a host"], "externalIPs; pods whose probes"),
        (
            Denied("h", "create services", "namespaces moorage-dry-run not found"),
            "moorage-dry-run not found",
        ),
    ],
    ids=["policies-without-it", "no-policies"],
)
async def test_policies_that_do_not_keep_tenants_from_the_host(
    let_in: list[str] | Denied, words: str
) -> None:
    """Ensures that the report names what a tenant could do to the host, and the remedy."""
    found, _ = await admission(lambda one: is_ours(one) and is_secured(one), let_in=let_in)
    assert found.kind is Kind.REFUSED
    assert words in found.detail
    assert "apply deploy/rbac.yaml for this installation" in found.remedy


async def test_a_host_that_refuses_our_quota_is_refused() -> None:
    """Ensures that doctor names the refused object with the host's words, before anything is made."""
    refused = ["quota (422 hard[count/x]: Invalid value)", "limit range (403 denied by kyverno)"]
    found, _ = await admission(lambda one: is_ours(one) and is_secured(one), refused=refused)
    assert found.kind is Kind.REFUSED
    assert found.detail == f"refuses what every environment is made with: {'; '.join(refused)}"
    assert "let its policies accept them, and apply deploy/rbac.yaml" in found.remedy


async def test_the_reported_command_fills_in_every_placeholder() -> None:
    """Ensures that the command is one line, and that its objects name this installation and its prefix."""
    command_line = (await admission(lambda _: False, prefix="team-x"))[0].remedy.partition(": ")[2]
    fill, _, apply = command_line.partition(" | ")
    assert (apply, "\n" in command_line) == ("kubectl apply -f -", False)
    objects = what_comes_of(fill)
    unfilled = [each for each in objects if "INSTALLATION" in each or "PREFIX" in each]
    assert unfilled == [], "what is applied still has a place to be filled in"
    assert any(f"== '{INSTALLATION}'" in each for each in objects), "no policy names the installation"
    assert any("startsWith('team-x-')" in each for each in objects), "no policy names the prefix"


async def test_the_same_command_is_documented_everywhere() -> None:
    """Ensures that the file and the page show the same command as setup."""
    command_line = (await admission(lambda _: False))[0].remedy.partition(": ")[2]
    for place, command in documented_commands().items():
        assert command.replace("<your MOORAGE_INSTALLATION>", INSTALLATION) == command_line, (
            f"{place} shows another command"
        )
