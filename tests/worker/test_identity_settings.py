"""The settings of the identity provider: what each kind needs, and what only looks right."""

import pytest

from clients.identity.okta import READ_SCOPE
from tests.clients.test_client_assertion import CERTIFICATE_PEM, PEM
from tests.worker.test_settings import DIRECTORY, LEAST, problems_of
from worker.settings.loading import load_api_settings, load_settings

KEYCLOAK = {
    "MOORAGE_IDENTITY__KIND": "keycloak",
    "MOORAGE_IDENTITY__URL": "https://sso.example/realms/acme",
    "MOORAGE_IDENTITY__CLIENT_ID": "moorage-directory",
    "MOORAGE_IDENTITY__CLIENT_SECRET": "planted-secret",
}


def test_api_uses_its_own_client_of_the_identity_provider() -> None:
    own = {"MOORAGE_API__IDENTITY_CLIENT_ID": "reader", "MOORAGE_API__IDENTITY_CLIENT_SECRET": "reads"}
    identity = load_api_settings(LEAST | KEYCLOAK | own).identity
    assert identity is not None
    assert identity.client_secret is not None
    assert (identity.client_id, identity.client_secret.get_secret_value()) == ("reader", "reads")


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (KEYCLOAK | {"MOORAGE_IDENTITY__URL": "https://sso.example"}, "does not end with /realms/"),
        (KEYCLOAK | {"MOORAGE_IDENTITY__CLIENT_SECRET": None}, "client_id and client_secret together"),
        (KEYCLOAK | {"MOORAGE_IDENTITY__TOKEN": "x"}, "token and client_id: give one of them"),
        (
            KEYCLOAK | {"MOORAGE_IDENTITY__CLIENT_ID": None, "MOORAGE_IDENTITY__CLIENT_SECRET": None},
            "needs client_id and client_secret, because kind is keycloak",
        ),
        (KEYCLOAK | {"MOORAGE_IDENTITY__KIND": "scim"}, "needs token, or client_id"),
        (DIRECTORY, "needs token, or client_id"),
    ],
)
def test_credentials_of_the_identity_provider_must_be_complete(
    environ: dict[str, str | None], problem: str
) -> None:
    given = {name: value for name, value in environ.items() if value is not None}
    text = problems_of(LEAST | given)
    assert problem in text
    assert "planted-secret" not in text


OKTA = {"MOORAGE_IDENTITY__KIND": "okta", "MOORAGE_IDENTITY__URL": "https://acme.okta.com/"}
OKTA_APP = OKTA | {
    "MOORAGE_IDENTITY__CLIENT_ID": "0oa1",
    "MOORAGE_IDENTITY__PRIVATE_KEY": PEM,
    "MOORAGE_IDENTITY__KEY_ID": "key-1",
}
ENTRA = {
    "MOORAGE_IDENTITY__KIND": "entra",
    "MOORAGE_IDENTITY__URL": "https://graph.microsoft.com/v1.0",
    "MOORAGE_IDENTITY__TOKEN_URL": "https://login.microsoftonline.com/tenant/oauth2/v2.0/token",
    "MOORAGE_IDENTITY__CLIENT_ID": "app-1",
    "MOORAGE_IDENTITY__CLIENT_SECRET": "planted-secret",
}
ENTRA_CERTIFICATE = ENTRA | {
    "MOORAGE_IDENTITY__CLIENT_SECRET": None,
    "MOORAGE_IDENTITY__PRIVATE_KEY": PEM + CERTIFICATE_PEM,
}


def given(environ: dict[str, str | None]) -> dict[str, str]:
    """The variables with a value, and those that every installation needs."""
    return LEAST | {name: value for name, value in environ.items() if value is not None}


@pytest.mark.parametrize(
    "environ", [OKTA | {"MOORAGE_IDENTITY__TOKEN": "00ssws"}, OKTA_APP, ENTRA, ENTRA_CERTIFICATE]
)
def test_each_kind_takes_its_credentials(environ: dict[str, str | None]) -> None:
    identity = load_settings(given(environ)).identity
    assert identity is not None
    assert identity.kind == environ["MOORAGE_IDENTITY__KIND"]


URL, TOKEN = "MOORAGE_IDENTITY__URL", "MOORAGE_IDENTITY__TOKEN"
SECRET, KEY = "MOORAGE_IDENTITY__CLIENT_SECRET", "MOORAGE_IDENTITY__PRIVATE_KEY"
CLIENT = "MOORAGE_IDENTITY__CLIENT_ID"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (OKTA, "needs token, or client_id with private_key, because kind is okta"),
        (OKTA_APP | {TOKEN: "x"}, "token and client_id: give one of them"),
        (OKTA_APP | {CLIENT: None}, "needs client_id and private_key together"),
        (OKTA_APP | {KEY: None}, "needs client_id and private_key together"),
        (OKTA_APP | {KEY: None, SECRET: "planted-secret"}, "takes no client_secret, because kind is okta"),
        (OKTA_APP | {SECRET: "planted-secret"}, "client_secret and private_key: give one of them"),
        (OKTA_APP | {"MOORAGE_IDENTITY__KEY_ID": None}, "private_key has no id: give key_id"),
        (OKTA_APP | {KEY: "planted-secret"}, "private_key is no private key in PEM or JWK form"),
        (OKTA_APP | {URL: "https://acme-admin.okta.com"}, "admin console: leave -admin out"),
        (OKTA_APP | {URL: "https://acme.okta.com/api/v1"}, "the organization's address alone"),
        (OKTA_APP | {URL: "http://acme.okta.com"}, "must start with https://"),
        (ENTRA | {"MOORAGE_IDENTITY__TOKEN_URL": None}, "needs token_url, such as https://login.microsoft"),
        (ENTRA | {CLIENT: None, SECRET: None}, "needs client_id and client_secret or private_key, because"),
        (
            ENTRA | {CLIENT: None, SECRET: None, TOKEN: "x"},
            "needs client_id and client_secret or private_key",
        ),
        (ENTRA | {URL: "https://graph.microsoft.com/beta"}, "must be Microsoft Graph's"),
        (ENTRA | {URL: "https://graph.microsoft.com"}, "must be Microsoft Graph's"),
        (ENTRA_CERTIFICATE | {KEY: PEM}, "private_key has no certificate"),
        (KEYCLOAK | {SECRET: None, KEY: PEM}, "takes no private_key, because kind is keycloak"),
    ],
)
def test_what_does_not_fit_the_kind_is_said_without_a_secret(
    environ: dict[str, str | None], problem: str
) -> None:
    text = problems_of(given(environ))
    assert problem in text
    assert "planted-secret" not in text
    assert "BEGIN" not in text


def test_api_asks_okta_for_no_more_than_reading() -> None:
    own = {
        "MOORAGE_API__IDENTITY_CLIENT_ID": "0oa2",
        "MOORAGE_API__IDENTITY_PRIVATE_KEY": PEM,
        "MOORAGE_API__IDENTITY_KEY_ID": "key-2",
    }
    identity = load_api_settings(LEAST | OKTA_APP | own).identity
    assert identity is not None
    assert (identity.client_id, identity.key_id, identity.scope) == ("0oa2", "key-2", READ_SCOPE)
    worker = load_api_settings(LEAST | OKTA_APP).identity
    assert worker is not None
    assert (worker.client_id, worker.scope) == ("0oa1", None)
