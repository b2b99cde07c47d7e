"""Look-ups of the environment's own project and group in the control plane."""

from activities.errors import NotYet
from activities.ownership import require_ours
from clients.rafay import Group, Project, Rafay
from contracts.environment import Environment, System


async def own_project(rafay: Rafay, environment: Environment) -> Project:
    """Return the environment's project.

    Raises NotYet if there is none, and Conflict if the one of its name is not ours.
    """
    name = environment.derived_name
    project = await rafay.find_project(name)
    if project is None:
        raise _missing(f"Project {name}")
    require_ours(System.CONTROL_PLANE, f"Project {name}", project.description, environment.mark)
    return project


async def own_group(rafay: Rafay, environment: Environment) -> Group:
    """Return the environment's group.

    Raises NotYet if there is none, and Conflict if the one of its name is not ours.
    """
    name = environment.derived_name
    group = await rafay.find_group(name)
    if group is None:
        raise _missing(f"Group {name}")
    require_ours(System.CONTROL_PLANE, f"Group {name}", group.description, environment.mark)
    return group


def _missing(thing: str) -> NotYet:
    return NotYet(
        System.CONTROL_PLANE,
        f"{thing} is not to be found in the {System.CONTROL_PLANE}",
        "See whether somebody has deleted it",
    )
