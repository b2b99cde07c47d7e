"""The name by which the user calls the program: `moorage`, or `kubectl moorage` as a plugin of kubectl."""

import re
import sys
from pathlib import Path

COMMAND = "moorage"
#: kubectl runs the program of this name for `kubectl moorage`.
#: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/
PLUGIN = "kubectl-moorage"

_OWN_COMMAND = re.compile(rf"(?<![\w./-]){COMMAND} (?=[a-z])")


def program_name() -> str:
    """Return the words with which the user has called the program."""
    return f"kubectl {COMMAND}" if is_plugin(sys.argv[0]) else COMMAND


def is_plugin(program: str) -> bool:
    """Return whether this is the path of kubectl's plugin."""
    return Path(program).name == PLUGIN


def as_called(text: str) -> str:
    """Return a text of ours with its commands as the user calls them: "kubectl moorage list"."""
    return _OWN_COMMAND.sub(f"{program_name()} ", text) if is_plugin(sys.argv[0]) else text
