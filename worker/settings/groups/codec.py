"""The settings of encryption, and of the codec server that decrypts for the Temporal Web UI."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from worker.codec import KEY_HINT, Keyring, derived_keys
from worker.settings.types import Group, NonEmptySecret, Url, split_words


def _are_keys(secret: SecretStr) -> SecretStr:
    Keyring.parse(secret.get_secret_value())
    return secret


Keys = Annotated[NonEmptySecret, AfterValidator(_are_keys)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(split_words)]


class Encryption(Group):
    """Encryption of everything in Temporal. It is always on, so that it cannot be disabled by mistake."""

    keys: Keys = Field(
        description="encrypts all that Temporal keeps: keys of 32 random bytes in base64, with blanks "
        f"between them; the first one encrypts, all of them decrypt; {KEY_HINT}",
    )

    @property
    def keyring(self) -> Keyring:
        """The keys, ready for use."""
        return Keyring.parse(self.keys.get_secret_value())

    @property
    def cursor_keys(self) -> tuple[bytes, ...]:
        """Keys that encrypt the cursors of lists; every API of the installation has the same keys."""
        return derived_keys(self.keys.get_secret_value(), b"moorage cursors of lists")

    @property
    def page_keys(self) -> tuple[bytes, ...]:
        """Keys of the page's cookies; every API of the installation has the same keys."""
        return derived_keys(self.keys.get_secret_value(), b"moorage sessions of the page")


class CodecServer(Group):
    """The server that decrypts payloads for the platform team in Temporal's Web UI."""

    bind: str = Field(default="127.0.0.1", description="address to listen on; in a container 0.0.0.0")
    port: int = Field(default=7401, ge=1, le=65535, description="port to listen on")
    ui: Urls = Field(
        default=(),
        description="where people open Temporal's Web UI: pages from elsewhere are refused",
        examples=["https://temporal.example.com"],
    )
    trust_same_user: bool = Field(
        default=False,
        description="let in, without a token, who runs on this machine as the same user as the server; for a "
        "stack of one's own (Linux only)",
    )
