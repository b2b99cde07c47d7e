"""Step 2: the environment's group in the control plane. Its description is the mark."""

from activities.parts.control_plane_resource import ControlPlaneResourceStep
from clients.rafay import Rafay


class GroupStep(ControlPlaneResourceStep):
    """Creates, removes and finds the group. With it go all permissions that it grants."""

    def __init__(self, rafay: Rafay) -> None:
        super().__init__("group", create=rafay.create_group, find=rafay.find_group, delete=rafay.delete_group)
