"""The part of Helm that a host needs, as a protocol; `clients.helm.client` implements it."""

from collections.abc import Mapping
from typing import Any, Protocol

from clients.host.models import Chart


class Helm(Protocol):
    """Releases of one host cluster; every failure is a `clients.errors.ClientError`."""

    async def install(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Install the release without waiting for its start.

        When cancelled, it cancels Helm and returns after Helm has ended; at once if Helm has not started.

        Raises:
            AlreadyExists: there is a release with this name, in any status.
            Rejected: the chart is not available, or does not accept the values.
        """
        ...

    async def upgrade(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any], labels: Mapping[str, str]
    ) -> None:
        """Upgrade the release without waiting for its pods; when cancelled, as `install`.

        Raises:
            NotFound: there is no release with this name.
            Rejected: the chart is not available, or does not accept the values.
        """
        ...

    async def roll_back(self, namespace: str, name: str) -> None:
        """Restore the revision that was deployed last, without waiting for its pods.

        Raises:
            NotFound: there is no such revision.
        """
        ...

    async def uninstall(self, namespace: str, name: str) -> None:
        """Uninstall the release without waiting for the end of its pods; raise NotFound without one."""
        ...

    async def check(self, chart: Chart, values: Mapping[str, Any]) -> None:
        """Check that the chart is available and accepts the values; raise Rejected if not.

        Nothing is created.
        """
        ...

    async def render(
        self, namespace: str, name: str, chart: Chart, values: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return the manifests that an install would create, by the chart's template files."""
        ...
