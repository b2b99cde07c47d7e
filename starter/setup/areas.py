"""What a set-up can be kept to. Apart from the parts, so that `--help` loads nothing for it."""

from enum import StrEnum


class Area(StrEnum):
    """What a part belongs to: what `moorage setup --only` chooses by."""

    FILES = "files"
    CONTROL_PLANE = "control-plane"
    IDENTITY = "identity"
    HOSTS = "hosts"
    TEMPORAL = "temporal"
