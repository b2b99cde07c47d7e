"""All workflows: what a worker registers, and what recorded histories are replayed with."""

from workflows.environment import EnvironmentWorkflow
from workflows.sweep import ExpirySweepWorkflow

WORKFLOWS = [EnvironmentWorkflow, ExpirySweepWorkflow]
