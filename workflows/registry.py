"""All workflows: workers register them, and the replay tests replay histories with them."""

from workflows.booking import BookingWorkflow
from workflows.capacity.workflow import CapacityWorkflow
from workflows.environment.workflow import EnvironmentWorkflow
from workflows.host_request import HostRequestWorkflow
from workflows.rollout import RolloutWorkflow
from workflows.standby import StandbyWorkflow
from workflows.sweeps.expiry import ExpirySweepWorkflow
from workflows.sweeps.leavers import LeaverSweepWorkflow
from workflows.sweeps.reconcile import ReconcileWorkflow

WORKFLOWS = [
    BookingWorkflow,
    CapacityWorkflow,
    EnvironmentWorkflow,
    ExpirySweepWorkflow,
    LeaverSweepWorkflow,
    ReconcileWorkflow,
    RolloutWorkflow,
    StandbyWorkflow,
]
#: Those of a worker beside a host.
HOST_WORKFLOWS = [HostRequestWorkflow]
