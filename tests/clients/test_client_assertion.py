"""Assertions that a private key signs, and the tokens that are got by them."""

import hashlib
import json
import time
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from clients.errors import Denied, MalformedAnswer
from clients.identity.client_assertion import ASSERTION_TYPE, ClientAssertion, SigningKey
from clients.identity.client_credentials import ClientCredentials, secret_proof
from tests.support.keys import rsa_key, rsa_pem
from tests.support.mock_answers import MockAnswers, answer
from tests.support.stand_ins import TLS

TOKEN_URL = "https://acme.okta.com/oauth2/v1/token"
ROUTE = "POST /oauth2/v1/token"
RSA_KEY = rsa_key(1)
PEM = rsa_pem(1).decode()
OLD_PEM = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
LOCKED_PEM = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()
SHORT_PEM = (
    rsa.generate_private_key(65537, 1024)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
EC_PEM = (
    ec.generate_private_key(ec.SECP384R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


def certificate_of(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, SHA256())


CERTIFICATE = certificate_of(RSA_KEY)
CERTIFICATE_PEM = CERTIFICATE.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        (PEM, "RS256"),
        (f"\n{OLD_PEM}\n", "RS256"),
        (EC_PEM, "ES384"),
        (json.dumps(RSAKey.import_key(PEM).as_dict(private=True)), "RS256"),
        (json.dumps(ECKey.generate_key("P-256", private=True).as_dict(private=True)), "ES256"),
    ],
)
def test_assertion_names_the_client_the_endpoint_and_the_key(text: str, algorithm: str) -> None:
    form = ClientAssertion(TOKEN_URL, "client-1", lambda: text, key_id="key-1")()
    assert form["client_assertion_type"] == ASSERTION_TYPE
    kind = RSAKey if algorithm == "RS256" else ECKey
    key = kind.import_key(json.loads(text) if text.startswith("{") else text.strip())
    token = jwt.decode(form["client_assertion"], key, algorithms=[algorithm])
    assert token.header == {"alg": algorithm, "typ": "JWT", "kid": "key-1"}
    claims = token.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("client-1", "client-1", TOKEN_URL)
    assert claims["iat"] <= time.time() < claims["exp"] <= claims["iat"] + 3600, "Okta allows an hour"


def test_no_two_assertions_have_the_same_id() -> None:
    assertion = ClientAssertion(TOKEN_URL, "client-1", lambda: PEM, key_id="key-1")
    tokens = [jwt.decode(assertion()["client_assertion"], RSAKey.import_key(PEM)) for _ in range(2)]
    assert tokens[0].claims["jti"] != tokens[1].claims["jti"]


def test_key_id_of_a_jwk_is_taken() -> None:
    key = RSAKey.import_key(PEM).as_dict(private=True) | {"kid": "its-own"}
    assert SigningKey(json.dumps(key)).header["kid"] == "its-own"
    assert SigningKey(json.dumps(key), key_id="given").header["kid"] == "given"


@pytest.mark.parametrize("text", [PEM + CERTIFICATE_PEM, CERTIFICATE_PEM + PEM])
def test_entra_finds_the_key_by_its_certificate(text: str) -> None:
    assertion = ClientAssertion(TOKEN_URL, "client-1", lambda: text, needs_certificate=True)
    token = jwt.decode(assertion()["client_assertion"], RSAKey.import_key(PEM), algorithms=["PS256"])
    digest = hashlib.sha256(CERTIFICATE.public_bytes(Encoding.DER)).digest()
    thumbprint = urlsafe_b64encode(digest).decode().rstrip("=")
    assert token.header == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
    assert "nbf" in token.claims
    expires_at = SigningKey(text, needs_certificate=True).expires_at
    assert expires_at == CERTIFICATE.not_valid_after_utc


OTHER_CERTIFICATE = certificate_of(rsa_key(2)).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("text", "needs_certificate", "problem"),
    [
        ("not a key", False, "is no private key in PEM or JWK form"),
        ("", False, "is no private key"),
        (CERTIFICATE_PEM, False, "is no private key"),
        (LOCKED_PEM, False, "without a passphrase"),
        (PEM.replace("MII", "AAA", 1), False, "is no private key"),
        ("{" * 100_000, False, "is no private key"),
        ('{"kty": "oct", "k": "c2VjcmV0"}', False, "is no private key"),
        (json.dumps(RSAKey.import_key(PEM).as_dict(private=False)), False, "is no private key"),
        (SHORT_PEM, False, "fewer than 2048 bits"),
        (PEM, False, "has no id: give key_id"),
        (PEM, True, "has no certificate"),
        (PEM + OTHER_CERTIFICATE, True, "does not belong to the certificate"),
        (PEM + CERTIFICATE_PEM.replace("MII", "AAA", 1), True, "does not belong to the certificate"),
        (EC_PEM + CERTIFICATE_PEM, True, "is no RSA key"),
    ],
)
def test_unusable_key_is_refused_without_showing_it(text: str, needs_certificate: bool, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        SigningKey(text, needs_certificate=needs_certificate)
    assert refused.value.__context__ is None, "the library's error may carry the key along"
    with pytest.raises(Denied, match=f"private_key .*{problem}"):
        ClientAssertion(TOKEN_URL, "c", lambda: text, needs_certificate=needs_certificate)()


def credentials(
    routes: dict[str, object], proof: ClientAssertion | None = None, scope: str = ""
) -> tuple[ClientCredentials, MockAnswers]:
    made = ClientCredentials(
        TOKEN_URL,
        "client-1",
        proof or secret_proof(lambda: "s3cret"),
        timeout=timedelta(seconds=5),
        scope=scope,
        verify=TLS,
    )
    mock = MockAnswers(routes)
    mock.install(made)
    return made, mock


def fields(request: httpx.Request) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


async def test_token_request_has_the_assertion_and_the_scope_and_no_secret() -> None:
    """As in Okta's guide for service apps."""
    token = {"access_token": "eyJ", "token_type": "Bearer", "expires_in": 3600, "scope": "okta.users.read"}
    proof = ClientAssertion(TOKEN_URL, "client-1", lambda: PEM, key_id="k")
    made, mock = credentials({ROUTE: token}, proof, scope="okta.groups.manage okta.users.read")
    assert await made.headers() == {"Authorization": "Bearer eyJ"}
    sent = fields(mock.requests[0])
    assert sent.pop("client_assertion").count(".") == 2
    assert sent == {
        "grant_type": "client_credentials",
        "client_id": "client-1",
        "client_assertion_type": ASSERTION_TYPE,
        "scope": "okta.groups.manage okta.users.read",
    }
    await made.close()


async def test_rotated_key_signs_the_next_token() -> None:
    token = {"access_token": "eyJ", "token_type": "Bearer", "expires_in": 0}
    texts = [PEM, EC_PEM]
    made, mock = credentials({ROUTE: token}, ClientAssertion(TOKEN_URL, "c", lambda: texts[0], key_id="k"))
    await made.headers()
    texts.pop(0)
    await made.headers()
    first, second = (fields(each)["client_assertion"] for each in mock.requests)
    jwt.decode(first, RSAKey.import_key(PEM))
    jwt.decode(second, ECKey.import_key(EC_PEM), algorithms=["ES384"])
    await made.close()


@pytest.mark.parametrize(
    ("status", "document", "text"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": "Wrong secret"},
            "Wrong secret",
        ),
        (400, {"error": "invalid_scope", "error_description": "Not granted"}, "invalid_scope: Not granted"),
        (400, {"error": "invalid_dpop_proof", "error_description": "DPoP is needed"}, "DPoP is needed"),
        # Entra ID, of a tenant that it does not know.
        (400, {"error": "invalid_request", "error_description": "AADSTS90002: Tenant"}, "AADSTS90002"),
    ],
)
async def test_refused_token_asks_a_person_and_shows_no_secret(
    status: int, document: object, text: str
) -> None:
    made, _ = credentials({ROUTE: answer(status, document)})
    with pytest.raises(Denied, match=text) as refused:
        await made.headers()
    assert "s3cret" not in str(refused.value)
    await made.close()


@pytest.mark.parametrize("token", [{"access_token": "x", "token_type": "DPoP"}, {"token_type": "Bearer"}, []])
async def test_answer_that_is_no_bearer_token_is_malformed(token: object) -> None:
    made, _ = credentials({ROUTE: answer(200, token)})
    with pytest.raises(MalformedAnswer, match="no bearer token"):
        await made.headers()
    await made.close()
