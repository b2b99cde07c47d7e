"""Step 1: the environment's project in the control plane. Its description is the mark."""

from activities.parts.control_plane_resource import ControlPlaneResourceStep
from clients.rafay import Rafay


class ProjectStep(ControlPlaneResourceStep):
    """Creates, removes and finds the project. It cannot be deleted while a cluster record is in it."""

    def __init__(self, rafay: Rafay) -> None:
        super().__init__(
            "project", create=rafay.create_project, find=rafay.find_project, delete=rafay.delete_project
        )
