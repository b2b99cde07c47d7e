"""The settings for the end of environments: the expiry sweep, the notices, and the audit log."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from clients.smtp import Security
from clients.transport.secure_urls import is_internal_host, require_https
from contracts.notifications import WebhookFormat
from worker.settings.types import (
    Group,
    PositiveDuration,
    ProtectedUrl,
    SingleLineSecret,
    WebhookSecret,
    split_words,
)


def _needed_with(other: str, value: object, info: ValidationInfo) -> None:
    if info.data.get(other) and value is None:
        raise ValueError(f"is needed with {other}")


class Sweep(Group):
    """The expiry sweep."""

    interval: PositiveDuration = Field(
        default=timedelta(minutes=1), description="how often it is looked for environments to warn or end"
    )
    jitter: PositiveDuration = Field(
        default=timedelta(seconds=5), description="how much later, by chance, a sweep may begin"
    )
    catch_up: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="sweeps that were missed for longer are left out: the next one sees to everything anyway",
    )
    concurrency: int = Field(
        default=20, ge=1, le=200, description="environments that a sweep asks, warns or ends at one time"
    )
    ends_per_second: float = Field(
        default=2.0,
        ge=0.1,
        le=1000,
        description="teardowns that a sweep lets begin in a second, so that the systems stand it when "
        "thousands end together",
    )

    leavers_interval: PositiveDuration = Field(
        default=timedelta(minutes=30), description="how often the directory is asked who has left"
    )
    leavers_per_minute: int = Field(
        default=300,
        ge=1,
        le=60_000,
        description="people that are looked up in a minute, to keep under the directory's limit",
    )
    leavers_limit_percent: int = Field(
        default=5,
        ge=1,
        le=100,
        description="if more people than that share have left at once, the platform team must confirm it",
    )
    leavers_second_look: PositiveDuration = Field(
        default=timedelta(minutes=1), description="time until a missing person is looked up again"
    )

    @property
    def lookahead(self) -> timedelta:
        """How long before its time a warning is sent, so that no warning waits for the next sweep."""
        return self.interval + self.jitter


class Notices(Group):
    """The channels that notify people before and after the end of an environment. All are optional."""

    webhook_url: ProtectedUrl | None = Field(
        default=None, description="address that gets every notice as JSON"
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None,
        validate_default=True,
        description="secret that signs the notices for webhook_url (Standard Webhooks): whsec_ and base64; "
        "while it is changed, both, with a blank between",
    )
    webhook_format: WebhookFormat = Field(
        default=WebhookFormat.JSON,
        description="form of the notices for webhook_url: JSON alone, or CloudEvents 1.0",
    )
    slack_url: SingleLineSecret | None = Field(
        default=None, description="an incoming webhook of Slack, or of what takes the same form"
    )
    smtp_host: str | None = Field(default=None, description="mail server; people get notices by e-mail")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="port of the mail server")
    smtp_security: Security = Field(
        default=Security.STARTTLS, description="how the connection to the mail server is protected"
    )
    smtp_user: str | None = Field(default=None, description="login at the mail server, if it wants one")
    smtp_password: SingleLineSecret | None = Field(
        default=None, validate_default=True, description="password of smtp_user"
    )
    sender: str | None = Field(
        default=None, validate_default=True, description="address that the mails are from"
    )
    platform_team: Annotated[tuple[str, ...], BeforeValidator(split_words)] = Field(
        default=(),
        description="addresses that get an e-mail when the owner of an environment has left",
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=15), description="longest wait for one answer of any of them"
    )

    @field_validator("webhook_secret")
    @classmethod
    def _is_there_for_webhook(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        _needed_with("webhook_url", secret, info)
        return secret

    @field_validator("slack_url")
    @classmethod
    def _is_an_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must be a URL that starts with https:// (or http://)")
        if url is not None:
            require_https(url.get_secret_value())
        return url

    @field_validator("smtp_password")
    @classmethod
    def _is_there_for_user(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        _needed_with("smtp_user", password, info)
        host = info.data.get("smtp_host") or ""
        if (
            password is not None
            and info.data.get("smtp_security") is Security.NONE
            and not is_internal_host(host)
        ):
            raise ValueError("would be sent in clear: set smtp_security to starttls or tls")
        return password

    @field_validator("sender")
    @classmethod
    def _is_there_for_host(cls, sender: str | None, info: ValidationInfo) -> str | None:
        _needed_with("smtp_host", sender, info)
        return sender


class AuditLogSettings(Group):
    """The audit log, which keeps the account of each life beyond Temporal's retention. Optional."""

    file: Path | None = Field(
        default=None,
        description="file to which the worker adds one line of JSON a life, and in which the API looks for "
        "the history of those that are gone",
    )
    webhook_url: ProtectedUrl | None = Field(
        default=None, description="address that gets the record of each ended environment as JSON"
    )
    webhook_secret: WebhookSecret | None = Field(
        default=None,
        validate_default=True,
        description="secret that signs the records for webhook_url (Standard Webhooks): whsec_ and base64; "
        "while it is changed, both, with a blank between",
    )
    timeout: PositiveDuration = Field(
        default=timedelta(seconds=15), description="longest wait for one answer"
    )

    @field_validator("webhook_secret")
    @classmethod
    def _is_there_for_webhook(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        _needed_with("webhook_url", secret, info)
        return secret
