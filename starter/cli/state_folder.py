"""The folder in which the command line keeps what belongs to this user and this machine.

It is the state folder of the XDG conventions and not the configuration folder, because people put the latter
into repositories of dotfiles, and credentials do not belong there.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the state folder by the XDG conventions; raise RuntimeError without a home folder."""
    return xdg_folder("XDG_STATE_HOME", ".local/state", environ)


def xdg_folder(variable: str, default: str, environ: Mapping[str, str]) -> Path:
    """Return our folder in the one that the variable names, or in `default` of the home folder.

    Raises:
        RuntimeError: there is no home folder.
    """
    named = environ.get(variable, "")
    # Ignore a relative path, as the XDG conventions require.
    if os.path.isabs(named):
        return Path(named) / "moorage"
    # Without HOME, the system knows the home folder of the user who runs this process.
    home = environ.get("HOME", "") or (os.path.expanduser("~") if environ is os.environ else "")
    if not os.path.isabs(home):
        raise RuntimeError("HOME is not set")
    return Path(home) / default / "moorage"
