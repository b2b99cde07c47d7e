"""All workflows: what a worker registers, and what recorded histories are replayed with."""

from workflows.capacity import CapacityWorkflow
from workflows.environment import EnvironmentWorkflow
from workflows.expiry_sweep import ExpirySweepWorkflow

WORKFLOWS = [CapacityWorkflow, EnvironmentWorkflow, ExpirySweepWorkflow]
