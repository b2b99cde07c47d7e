"""The valid names of environments. The command line imports it without models."""

import re

#: An environment's name. It has at most 30 characters: with the prefix it must fit into Helm's limit of 53,
#: and with the suffixes of the vCluster chart into the 63 characters of Kubernetes names.
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"


def is_name(text: str) -> bool:
    """Return whether `text` is a valid name of an environment."""
    # Use fullmatch instead of search, because `$` alone would accept a final line break.
    return re.fullmatch(NAME_PATTERN, text) is not None
