"""The clients of the notification channels and of the audit log sinks that the settings name."""

from contextlib import AsyncExitStack

from activities.notices.cloud_events import source_of
from activities.notices.life_record import AuditLogSinks
from activities.notices.notifications import NotificationChannels
from clients.jsonl_file import JsonLinesFile
from clients.smtp import Smtp
from clients.webhook import Webhook
from contracts.notifications import WebhookFormat
from worker.settings.groups.expiry import AuditLogSettings, Notices
from worker.settings.types import secrets_of


def open_notification_channels(
    settings: Notices, installation: str, closing: AsyncExitStack
) -> NotificationChannels:
    """Return the notification channels; `closing` closes them."""
    timeout = settings.timeout
    webhook = slack = mail = None
    if settings.webhook_url and settings.webhook_secret:
        secrets = secrets_of(settings.webhook_secret)
        webhook = Webhook("webhook of notices", settings.webhook_url, secrets=secrets, timeout=timeout)
        closing.push_async_callback(webhook.close)
    if settings.slack_url:
        slack = Webhook("Slack", settings.slack_url.get_secret_value(), secrets=(), timeout=timeout)
        closing.push_async_callback(slack.close)
    if settings.smtp_host and settings.sender:
        login = None
        if settings.smtp_user and settings.smtp_password:
            login = (settings.smtp_user, settings.smtp_password.get_secret_value())
        mail = Smtp(
            settings.smtp_host,
            settings.smtp_port,
            security=settings.smtp_security,
            sender=settings.sender,
            login=login,
            timeout=timeout,
        )
    is_event = settings.webhook_format is WebhookFormat.CLOUDEVENTS
    source = source_of(installation) if is_event else None
    return NotificationChannels(webhook, slack, mail, settings.platform_team, source)


def open_audit_log_sinks(settings: AuditLogSettings, closing: AsyncExitStack) -> AuditLogSinks:
    """Return the sinks of the audit log; `closing` closes them."""
    webhook = None
    if settings.webhook_url and settings.webhook_secret:
        secrets = secrets_of(settings.webhook_secret)
        webhook = Webhook(
            "webhook of accounts", settings.webhook_url, secrets=secrets, timeout=settings.timeout
        )
        closing.push_async_callback(webhook.close)
    return AuditLogSinks(JsonLinesFile(settings.file) if settings.file else None, webhook)
