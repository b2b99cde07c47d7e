"""The hosts that can take an environment, by the labels that its template requires."""

from contracts.templates.template import Template
from starter.installation_settings import InstallationConfig


def candidate_hosts(
    template: Template, host: str | None, installation: InstallationConfig
) -> tuple[str, ...]:
    """Return the hosts that can take an environment of the template.

    If `host` was requested, it is the only candidate. Otherwise these are all hosts with the template's
    labels. If the default host is one of them, it is the only candidate.
    """
    matching = matching_hosts(template, installation)
    wanted = host or installation.default_host
    if host or wanted in matching:
        return (wanted,) if wanted in matching else ()
    return matching


def matching_hosts(template: Template, installation: InstallationConfig) -> tuple[str, ...]:
    """Return the hosts that have all labels of the template."""
    return tuple(
        name for name, labels in installation.hosts.items() if template.hosts.items() <= labels.items()
    )
