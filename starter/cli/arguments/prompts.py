"""Questions to the user at the terminal. Without an answer, nothing is decided."""

import sys

from starter.cli.errors import CliError, Code


def confirm(question: str, *, yes: bool, refused: str) -> None:
    """Return if the user answers yes, else raise CliError; `yes`: do not ask, because of --yes."""
    if yes:
        return
    if _answer(f"{question} [y/N]: ", "confirm with --yes").lower() not in ("y", "yes"):
        raise CliError(Code.FAILED, refused)


def ask(question: str, given: str | None, option: str) -> str:
    """Return the value of the option if it was given, otherwise the user's answer."""
    return given or _answer(f"{question}: ", f"use {option}")


def _answer(question: str, instead: str) -> str:
    if not sys.stdin.isatty():
        message = f'there is no terminal for the question: "{question.rstrip(": ")}"'
        raise CliError(Code.BAD_INPUT, message, next_steps=[instead])
    # Do not use input(), because it would write the question to standard output.
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise CliError(Code.INTERRUPTED, "interrupted: nothing was done") from None
    if not line.endswith("\n"):
        sys.stderr.write("\n")
    if not line.strip():
        raise CliError(Code.BAD_INPUT, "no answer: nothing was done", next_steps=[instead])
    return line.strip()
