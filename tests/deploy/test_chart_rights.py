"""Ensures that the chart gives the rights of deploy/rbac.yaml, and not one more."""

from typing import Any

import yaml

from tests.deploy.chart import NAMESPACE, objects, of_kind
from tests.deploy.values import EVERYTHING, INSTALLATION, LEAST, MATRIX, Object, with_values
from tests.support.stand_ins import CHECKOUT

#: Objects of deploy/rbac.yaml that are not among the chart's rights.
ELSEWHERE = {
    ("Namespace", "moorage"),
    ("ServiceAccount", "moorage-worker"),
    ("ServiceAccount", "moorage-api"),
}

Key = tuple[str, str | None, str]


def key_of(each: Object) -> Key:
    return each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]


def of_the_file(prefix: str, worker: str, api: str) -> dict[Key, Object]:
    """Return the objects of deploy/rbac.yaml as the command in it fills them, for these accounts."""
    text = (CHECKOUT / "deploy" / "rbac.yaml").read_text(encoding="utf-8")
    lines = (
        line.replace("INSTALLATION", INSTALLATION, 1).replace("PREFIX", prefix, 1)
        for line in text.splitlines()
    )
    found = [each for each in yaml.safe_load_all("\n".join(lines)) if each]
    accounts = {"moorage-worker": worker, "moorage-api": api}

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            inner = {name: moved(each) for name, each in value.items()}
            if inner.get("kind") == "ServiceAccount" and "name" in inner:
                inner |= {"name": accounts[inner["name"]], "namespace": NAMESPACE}
            return inner
        if isinstance(value, list):
            return [moved(each) for each in value]
        if isinstance(value, str):
            return value.replace(
                "system:serviceaccount:moorage:moorage-worker", f"system:serviceaccount:{NAMESPACE}:{worker}"
            )
        return value

    return {
        key_of(each): moved(each)
        for each in found
        if (each["kind"], each["metadata"]["name"]) not in ELSEWHERE
    }


def of_the_chart(values: Object) -> dict[Key, Object]:
    """Return the chart's objects for a host, without the labels and annotations that it adds."""
    found = {}
    for each in objects(values):
        if each["metadata"]["labels"]["app.kubernetes.io/component"] != "rights":
            continue
        metadata = each["metadata"]
        for part in ("labels", "annotations"):
            kept = {
                name: text
                for name, text in metadata.get(part, {}).items()
                if name.startswith(("moorage.dev/", "pod-security."))
            }
            metadata.pop(part, None)
            metadata |= {part: kept} if kept else {}
        found[key_of(each)] = each
    return found


def test_rights_are_those_of_the_file() -> None:
    expected = of_the_file("mrg", "moorage-worker", "moorage-api")
    assert of_the_chart(LEAST) == expected
    # Something was compared.
    kinds = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Namespace"}
    policies = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert {kind for kind, _, _ in expected} == kinds | policies


def test_rights_are_for_the_accounts_and_the_prefix_of_the_values() -> None:
    expected = of_the_file("acme", "berth-master", "clerk")
    more = with_values({"rbac": {"retainedVolumes": False, "environmentRules": []}}, base=EVERYTHING)
    assert of_the_chart(more) == expected


def test_optional_rights_are_added_where_the_values_say_so() -> None:
    plain, more = of_the_file("acme", "berth-master", "clerk"), of_the_chart(EVERYTHING)
    role = ("ClusterRole", None, "moorage-environment")
    assert more[role]["rules"] == plain[role]["rules"] + EVERYTHING["rbac"]["environmentRules"]
    binding = of_kind(objects(EVERYTHING), "ClusterRoleBinding", "moorage-volumes")
    assert binding["roleRef"]["name"] == "moorage-volumes"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "berth-master", "namespace": NAMESPACE}]
    assert set(more) - set(plain) == {("ClusterRoleBinding", None, "moorage-volumes")}


def test_no_placeholder_is_left() -> None:
    for each in of_the_chart(LEAST).values():
        assert "INSTALLATION" not in str(each)
        assert "PREFIX" not in str(each)


def test_rights_are_made_only_where_a_host_is_this_cluster() -> None:
    assert not of_the_chart(MATRIX["other hosts"])
    assert not of_the_chart(MATRIX["nothing more"])


def test_policies_that_confine_tenants_stay_after_uninstall() -> None:
    """Ensures that environments which still run are never without the policies for tenants."""

    def kept(values: Object) -> set[str]:
        return {
            each["metadata"]["name"]
            for each in objects(values)
            if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }

    tenants = {f"moorage-tenant-{name}" for name in ("services", "pods", "ends", "objects")}
    assert kept(LEAST) == tenants
    assert not kept(with_values({"rbac": {"keepTenantPolicies": False}}))


def test_bindings_are_to_accounts_of_the_chart() -> None:
    found = objects(EVERYTHING)
    accounts = {each["metadata"]["name"] for each in found if each["kind"] == "ServiceAccount"}
    bound = {
        subject["name"]
        for each in found
        if each["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {"berth-master", "clerk"}
    assert bound <= accounts
