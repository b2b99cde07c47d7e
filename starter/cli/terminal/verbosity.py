"""Whether a command shows its calls, as `--verbose` says, before the name of the command or after it."""

_is_verbose = False


def set_verbose(value: bool) -> None:
    """Say whether this command shows its calls."""
    global _is_verbose
    _is_verbose = value


def is_verbose() -> bool:
    """Return whether this command shows its calls."""
    return _is_verbose
