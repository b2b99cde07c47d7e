"""Links into Temporal's Web UI, for the platform team."""

from urllib.parse import quote

from contracts.types.naming import workflow_id


class TemporalLinks:
    """Links to the runs of one namespace; there are none without the address of the Web UI."""

    def __init__(self, web_url: str | None, namespace: str) -> None:
        self._root = f"{web_url.rstrip('/')}/namespaces/{quote(namespace, safe='')}" if web_url else ""

    def run(self, name: str, run_id: str) -> str:
        """Return the link to a run of an environment, or to all its runs for ""; "" without a Web UI."""
        if not self._root:
            return ""
        link = f"{self._root}/workflows/{quote(workflow_id(name), safe='')}"
        return f"{link}/{quote(run_id, safe='')}/history" if run_id else link
