"""The least rights of the documentation, for the worker and for the API, and the trial of `moorage setup`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.errors import Denied
from starter.setup.check import Kind
from starter.setup.group_probe import GroupProbe
from starter.setup.identity import Identity
from tests.clients.test_client_assertion import CERTIFICATE_PEM, PEM
from tests.support.cloud_directories import OKTA_TOKEN, Signer
from tests.support.stand_ins import RafayStandIn, running_stand_ins
from tests.worker.test_identity_settings import ENTRA_CERTIFICATE, OKTA_APP, given
from tests.worker.test_settings import LEAST
from worker.client_factory import open_clients
from worker.settings.loading import load_api_settings, load_settings

pytestmark = pytest.mark.slow

TENANT = "a-tenant"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    """The settings by kind: a client with the worker's rights, and one with those of the API."""
    folder, signer = tmp_path_factory.mktemp("directories"), Signer()
    key, pair = folder / "key.pem", folder / "pair.pem"
    key.write_text(signer.private_pem)
    pair.write_text(signer.private_pem + signer.certificate_pem)
    jwk = {**signer.public_jwk, "kid": "key-1"}
    okta = {
        "database": folder / "okta.sqlite",
        "api_token": OKTA_TOKEN,
        "clients": [
            {"client_id": "writes", "keys": [jwk], "scopes": ["okta.groups.manage", "okta.users.read"]},
            {"client_id": "reads", "keys": [jwk], "scopes": ["okta.groups.read", "okta.users.read"]},
        ],
        "behaviour": {"lag": 0.2},
    }
    certificates = [signer.certificate_pem]
    rights = {
        "writes": ["Group.ReadWrite.All", "User.Read.All"],
        "reads": ["GroupMember.Read.All", "User.Read.All"],
    }
    entra = {
        "database": folder / "entra.sqlite",
        "tenant": TENANT,
        "apps": [
            {"client_id": name, "certificates": certificates, "permissions": permissions}
            for name, permissions in rights.items()
        ],
        "behaviour": {"lag": 0.2},
    }
    with running_stand_ins(okta=okta, entra=entra) as [okta_url, entra_url]:
        clients = {"MOORAGE_IDENTITY__CLIENT_ID": "writes", "MOORAGE_API__IDENTITY_CLIENT_ID": "reads"}
        yield {
            "okta": {
                **LEAST,
                **clients,
                "MOORAGE_IDENTITY__KIND": "okta",
                "MOORAGE_IDENTITY__URL": okta_url,
                "MOORAGE_IDENTITY__PRIVATE_KEY_FILE": str(key),
                "MOORAGE_IDENTITY__KEY_ID": "key-1",
                "MOORAGE_API__IDENTITY_PRIVATE_KEY_FILE": str(key),
                "MOORAGE_API__IDENTITY_KEY_ID": "key-1",
            },
            "entra": {
                **LEAST,
                **clients,
                "MOORAGE_IDENTITY__KIND": "entra",
                "MOORAGE_IDENTITY__URL": f"{entra_url}/v1.0",
                "MOORAGE_IDENTITY__TOKEN_URL": f"{entra_url}/{TENANT}/oauth2/v2.0/token",
                "MOORAGE_IDENTITY__PRIVATE_KEY_FILE": str(pair),
                "MOORAGE_API__IDENTITY_PRIVATE_KEY_FILE": str(pair),
            },
        }


KINDS = pytest.mark.parametrize("kind", ["okta", "entra"])


@KINDS
async def test_api_reads_with_its_own_client_and_cannot_write(
    environ: dict[str, dict[str, str]], kind: str
) -> None:
    async with open_clients(load_api_settings(environ[kind])) as clients:
        assert clients.directory is not None
        await clients.directory.check()
        assert await clients.directory.find_user("alice@example.com") is not None
        assert await clients.directory.groups_by_name("moor-demo") == []
        with pytest.raises(Denied):
            await clients.directory.create_group("moor-demo", "k3x9q0vb/demo/0123456789abcdef0123")


@KINDS
async def test_trial_of_setup_succeeds_again_and_again(
    environ: dict[str, dict[str, str]], kind: str, tmp_path: Path
) -> None:
    """Ensures that its group, which has the same mark each time, leaves nothing in the way of the next."""
    with RafayStandIn(tmp_path) as rafay:
        control_plane = rafay.client()
        async with open_clients(load_settings(environ[kind])) as clients:
            project = await control_plane.create_project("moorage", "of the hosts")
            probe = GroupProbe(
                control_plane, clients.directory, "moor-0-setup-check", "ours/0-setup-check", project.name,
                lambda: "PROJECT_ADMIN",
            )  # fmt: skip
            for _ in range(2):
                assert "is gone again" in await probe.try_it()
            assert (await probe.check()).kind is Kind.WELL
        await control_plane.close()


def test_setup_names_the_rights_of_the_kind_and_a_certificate_that_ends() -> None:
    for kind, right in ((OKTA_APP, "okta.groups.manage"), (ENTRA_CERTIFICATE, "Group.ReadWrite.All")):
        provider = load_settings(given({**kind})).identity
        identity = Identity(None, None, "", None, None, list, provider)  # type: ignore[arg-type]
        assert right in identity._rights


async def test_certificate_that_ends_soon_is_for_a_person() -> None:
    """Ensures it with a certificate of one day."""
    environ = ENTRA_CERTIFICATE | {"MOORAGE_IDENTITY__PRIVATE_KEY": PEM + CERTIFICATE_PEM}
    provider = load_settings(given(environ)).identity
    identity = Identity(None, None, "", None, None, list, provider)  # type: ignore[arg-type]
    found = await identity._directory()
    assert found.kind is Kind.BY_HAND
    assert "the certificate of private_key expires on 20" in found.detail
