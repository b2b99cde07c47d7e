"""Temporal's Worker Versioning: the deployment of our workers, and the version that a run is pinned to.

Without versions (the default) Temporal knows no deployment, and no run has a version.
"""

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.common import SearchAttributeKey, TypedSearchAttributes
from temporalio.service import RPCStatusCode

from contracts.temporal.search_attributes import quoted

#: The deployment that all workers of an installation belong to.
DEPLOYMENT = "moorage"
#: How Temporal refuses to describe it: no worker has registered with a version, or the server knows no
#: deployments at all.
NO_DEPLOYMENT = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.UNIMPLEMENTED})
#: The version of a run, in visibility: `<deployment>:<build id>`. Temporal sets it.
RUN_VERSION = SearchAttributeKey.for_keyword("TemporalWorkerDeploymentVersion")

_PREFIX = f"{DEPLOYMENT}:"


def describe_request(namespace: str) -> DescribeWorkerDeploymentRequest:
    """Return the request that describes the deployment; see `NO_DEPLOYMENT`."""
    return DescribeWorkerDeploymentRequest(namespace=namespace, deployment_name=DEPLOYMENT)


def build_id_of(attributes: TypedSearchAttributes) -> str:
    """Return the build id of the workers that a run is pinned to, from its attributes; "" if it has none."""
    return (attributes.get(RUN_VERSION) or "").removeprefix(_PREFIX)


def open_runs_query(build_id: str) -> str:
    """Return the query for the open runs that are pinned to this version."""
    return f"ExecutionStatus = 'Running' AND {RUN_VERSION.name} = {quoted(_PREFIX + build_id)}"
