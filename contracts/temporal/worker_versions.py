"""Temporal's Worker Versioning: the deployment of our workers, and the version that a run is pinned to.

Without versions (the default) Temporal knows no deployment, and no run has a version.
"""

from temporalio.common import SearchAttributeKey, TypedSearchAttributes

#: The deployment that all workers of an installation belong to.
DEPLOYMENT = "moorage"
#: The version of a run, in visibility: `<deployment>:<build id>`. Temporal sets it.
RUN_VERSION = SearchAttributeKey.for_keyword("TemporalWorkerDeploymentVersion")


def build_id_of(attributes: TypedSearchAttributes) -> str:
    """Return the build id of the workers that a run is pinned to, from its attributes; "" if it has none."""
    return (attributes.get(RUN_VERSION) or "").removeprefix(f"{DEPLOYMENT}:")
