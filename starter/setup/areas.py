"""The areas that a set-up can be limited to. Separate from the parts, so that `--help` loads nothing else."""

from enum import StrEnum


class Area(StrEnum):
    """The area of a part, which `moorage setup --only` selects."""

    FILES = "files"
    CONTROL_PLANE = "control-plane"
    IDENTITY = "identity"
    HOSTS = "hosts"
    TEMPORAL = "temporal"
