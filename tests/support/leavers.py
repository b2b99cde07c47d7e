"""People who leave the directory of a stack and return, as its administrator does it, and a sweep."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx
from temporalio.client import WorkflowHandle

from contracts.sweeps.leavers import LeaverInput
from contracts.types.naming import workflow_id
from embedded.stack.stack import Part, Stack
from tests.lifecycle.environment_client import Asking
from tests.support.stack import client_of
from tests.support.stand_ins import TLS
from workflows.environment.workflow import EnvironmentWorkflow

_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
#: Of one call at a directory of which most calls may fail.
ATTEMPTS = 60
#: Answers to wait for: each comes when the sweep is over, or after some seconds.
LOOKS = 60


class People:
    """The people of the directory; `away` are those who have left, with what is needed for their return."""

    def __init__(self, stack: Stack) -> None:
        self._base = f"{stack.url(Part.DIRECTORY)}/v2/Users"
        self._headers = {
            "Authorization": f"Bearer {stack.env['MOORAGE_IDENTITY__TOKEN']}",
            "Content-Type": "application/scim+json",
        }
        self.away: dict[str, Mapping[str, Any]] = {}

    def disable(self, person: str) -> None:
        """Disable the account, which stays."""
        found = self._find(person)
        self.away[person] = found
        self._set_active(found, False)

    def delete(self, person: str) -> None:
        """Delete the account."""
        found = self._find(person)
        self.away[person] = {key: value for key, value in found.items() if key not in ("id", "meta")}
        self._send("DELETE", f"/{found['id']}", accepted=(204, 404))

    def restore(self, person: str) -> None:
        """Enable the account, or create a new one of the same address."""
        kept = self.away[person]
        if "id" in kept:
            self._set_active(kept, True)
        else:
            # 409: it is there already, and the answer was lost.
            self._send("POST", "", accepted=(201, 409), json=kept)
        del self.away[person]

    def _find(self, person: str) -> dict[str, Any]:
        answer = self._send("GET", "", accepted=(200,), params={"filter": f'userName eq "{person}"'})
        [found] = answer.json()["Resources"]
        return dict(found)

    def _set_active(self, found: Mapping[str, Any], active: bool) -> None:
        change = {"op": "replace", "path": "active", "value": active}
        body = {"schemas": [_PATCH], "Operations": [change]}
        self._send("PATCH", f"/{found['id']}", accepted=(200, 204), json=body)

    def _send(self, method: str, path: str, *, accepted: Sequence[int], **more: Any) -> httpx.Response:
        """Send until it is answered: the faults of the directory are the administrator's as well."""
        with httpx.Client(headers=self._headers, trust_env=False, timeout=10, verify=TLS) as directory:
            for _ in range(ATTEMPTS):
                with suppress(httpx.TransportError):
                    answer = directory.request(method, f"{self._base}{path}", **more)
                    if answer.status_code in accepted:
                        return answer
                time.sleep(0.05)
        raise AssertionError(f"{method} {path}: the directory has not done it in {ATTEMPTS} attempts")


async def sweep_leavers(asking: Asking, **body: Any) -> dict[str, Any] | None:
    """Return the result of a sweep; None if there is none, as without a worker."""
    answer = await asking.call("POST", "/leavers", json=body)
    for _ in range(LOOKS):
        if answer.status_code != 202:
            break
        answer = await asking.call("GET", f"/leavers/{answer.json()['id']}")
    assert answer.status_code in (200, 202, 409, 503), answer.text
    if answer.status_code != 200:
        return None
    result: dict[str, Any] | None = answer.json().get("result")
    return result


async def report_left(stack: Stack, name: str, life: str, person: str) -> None:
    """Report to an environment what a sweep reports to it when the person has left."""
    handle: WorkflowHandle[EnvironmentWorkflow, Any] = (await client_of(stack)).get_workflow_handle_for(
        EnvironmentWorkflow.run, workflow_id(name)
    )
    report = LeaverInput(life=life, actor="the leaver sweep", person=person)
    await handle.execute_update(EnvironmentWorkflow.person_left, report)
