"""All workflows: workers register them, and the replay tests replay histories with them."""

from workflows.booking import BookingWorkflow
from workflows.capacity import CapacityWorkflow
from workflows.environment import EnvironmentWorkflow
from workflows.expiry_sweep import ExpirySweepWorkflow
from workflows.host_request import HostRequestWorkflow
from workflows.leaver_sweep import LeaverSweepWorkflow
from workflows.reconcile_sweep import ReconcileWorkflow
from workflows.rollout import RolloutWorkflow
from workflows.standby import StandbyWorkflow

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
