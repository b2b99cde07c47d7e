"""Seals a bootstrap manifest for the vCluster in which it is to be applied (HPKE, RFC 9180).

The private key is derived from the vCluster's kubeconfig, which exists on the host only. So every worker with
access to the host has the key, also after a restart. The central worker has not, and neither has a reader of
Temporal's histories who holds the encryption keys.
"""

import base64
import zlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clients.host.kubeconfig import Kubeconfig
from contracts.types.decompression import decompress

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
#: What both uses of the key are bound to, so that it means nothing elsewhere.
_PURPOSE = b"moorage bootstrap manifest "
_KEY_BYTES = 32
#: The public key is no secret, so anyone who reads histories can seal. Kubernetes takes 3 MB a request.
MAX_MANIFEST_BYTES = 8 * 2**20


class NotForThisCluster(ValueError):
    """The sealed manifest was sealed for another kubeconfig, life, or by another program."""


def public_key(kubeconfig: Kubeconfig, life: str) -> str:
    """Return the public key of the vCluster for this life, in base64."""
    return base64.b64encode(_private_key(kubeconfig, life).public_key().public_bytes_raw()).decode()


def seal(manifest: str, public_key: str, life: str) -> str:
    """Return the manifest, compressed and sealed, in base64; raise ValueError if the key is none."""
    key = X25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    return base64.b64encode(_SUITE.encrypt(zlib.compress(manifest.encode()), key, info=_info(life))).decode()


def unseal(sealed: str, kubeconfig: Kubeconfig, life: str) -> str:
    """Return the manifest; raise NotForThisCluster if this kubeconfig does not open it."""
    try:
        content = base64.b64decode(sealed, validate=True)
        packed = _SUITE.decrypt(content, _private_key(kubeconfig, life), info=_info(life))
        return decompress(packed, MAX_MANIFEST_BYTES).decode()
    except (InvalidTag, ValueError):
        raise NotForThisCluster("it is not sealed for this vCluster") from None


def _private_key(kubeconfig: Kubeconfig, life: str) -> X25519PrivateKey:
    derived = HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=_info(life)).derive(
        kubeconfig.text().encode()
    )
    return X25519PrivateKey.from_private_bytes(derived)


def _info(life: str) -> bytes:
    return _PURPOSE + life.encode()
