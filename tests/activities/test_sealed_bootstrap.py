"""Ensures that only a worker with the vCluster's kubeconfig can open a sealed bootstrap manifest."""

import pytest

from activities.parts.sealed_bootstrap import MAX_MANIFEST_BYTES, NotForThisCluster, public_key, seal, unseal
from clients.host.kubeconfig import Kubeconfig

LIFE = "0123456789abcdef0123"
MANIFEST = "kind: Secret\nstringData:\n  token: not-for-histories\n" * 400


def _kubeconfig(key: str) -> Kubeconfig:
    text = f"""
apiVersion: v1
clusters: [{{name: c, cluster: {{server: https://127.0.0.1:1}}}}]
users: [{{name: u, user: {{client-key-data: {key}}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
    return Kubeconfig(text, secret_name="vc")


def test_the_kubeconfig_of_the_life_opens_it() -> None:
    sealed = seal(MANIFEST, public_key(_kubeconfig("one"), LIFE), LIFE)
    # Another worker, or the same one after a restart, derives the same key.
    assert unseal(sealed, _kubeconfig("one"), LIFE) == MANIFEST
    assert "not-for-histories" not in sealed
    assert len(sealed) < len(MANIFEST) / 4, "a history takes it, so it is compressed"


@pytest.mark.parametrize(("key", "life"), [("two", LIFE), ("one", LIFE[::-1])])
def test_another_kubeconfig_or_life_does_not(key: str, life: str) -> None:
    sealed = seal(MANIFEST, public_key(_kubeconfig("one"), LIFE), LIFE)
    with pytest.raises(NotForThisCluster):
        unseal(sealed, _kubeconfig(key), life)


@pytest.mark.parametrize("sealed", ["", "not base64 !", "AAAA"])
def test_what_was_not_sealed_is_refused(sealed: str) -> None:
    with pytest.raises(NotForThisCluster):
        unseal(sealed, _kubeconfig("one"), LIFE)


@pytest.mark.parametrize("key", ["", "AAAA", "?"])
def test_what_is_no_key_seals_nothing(key: str) -> None:
    with pytest.raises(ValueError):
        seal(MANIFEST, key, LIFE)


def test_what_becomes_too_large_is_refused() -> None:
    bomb = seal("x" * (MAX_MANIFEST_BYTES + 1), public_key(_kubeconfig("one"), LIFE), LIFE)
    assert len(bomb) < MAX_MANIFEST_BYTES / 100
    with pytest.raises(NotForThisCluster):
        unseal(bomb, _kubeconfig("one"), LIFE)


def test_two_seals_of_one_manifest_differ() -> None:
    key = public_key(_kubeconfig("one"), LIFE)
    assert seal(MANIFEST, key, LIFE) != seal(MANIFEST, key, LIFE)
