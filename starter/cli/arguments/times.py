"""Parses times as users write them, in their zone; rejects a time that does not exist, or exists twice."""

from datetime import UTC, datetime

from starter.cli.errors import CliError, Code


def parse_local_time(text: str) -> datetime:
    """Parse a time; a time without a zone is in the zone of this machine.

    When clocks are put forward, some times do not exist; when they are put back, some times exist twice.

    Raises:
        CliError: The text is not a time, or the time does not exist, or exists twice.
    """
    try:
        written = datetime.fromisoformat(text)
        if written.tzinfo is not None:
            return written
        early, late = (written.replace(fold=fold).astimezone() for fold in (0, 1))
        exists = early.astimezone(UTC).astimezone().replace(tzinfo=None) == written.replace(fold=0)
    except (ValueError, OverflowError, OSError):
        message = f'"{text}" is not a time: write "2030-01-31 18:00", or with a zone "2030-01-31 18:00+01:00"'
        raise CliError(Code.BAD_INPUT, message) from None
    if early.utcoffset() == late.utcoffset():
        return early
    if exists:
        raise CliError(
            Code.BAD_INPUT,
            f'"{text}" exists twice, because clocks go back: write {_quote(early)} or {_quote(late)}',
        )
    # The offset before the change gives a time after the gap, and the offset after it a time before the gap.
    behind, before = (one.astimezone(UTC).astimezone() for one in (early, late))
    raise CliError(
        Code.BAD_INPUT,
        f'"{text}" does not exist, because clocks go forward: write {_quote(before)} or {_quote(behind)}',
    )


def _quote(moment: datetime) -> str:
    return f'"{moment.isoformat(sep=" ", timespec="minutes")}"'
