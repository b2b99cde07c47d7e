"""The extras of the package: what an installation with the command line alone does not have."""

import importlib.util
from enum import StrEnum
from functools import cache

from starter.cli.errors import CliError, Code


class Extra(StrEnum):
    """An extra that commands need, named as pip and pipx take it."""

    SERVER = "server"
    EMBEDDED = "embedded"


#: Modules that only this extra brings, and those that it includes.
MODULES = {
    Extra.SERVER: ("temporalio", "fastapi", "helm_python"),
    Extra.EMBEDDED: ("scim2_server", "temporalio", "fastapi", "helm_python"),
}


def is_installed(extra: Extra) -> bool:
    """Return whether the packages of the extra are here, without importing one."""
    return all(map(_is_there, MODULES[extra]))


@cache
def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def require(extra: Extra, command: str) -> None:
    """Raise CliError with the command that installs the extra, if it is missing."""
    if not is_installed(extra):
        raise CliError(
            Code.BAD_INPUT,
            f'"{command}" needs the extra "{extra}", and only the command line is installed',
            # Not by the name alone: on a public index, it may belong to another project.
            next_steps=[
                f'install the wheel of your platform team again: pipx install --force "WHEEL[{extra}]"'
            ],
        )
