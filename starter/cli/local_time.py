"""Moments as people write them, in their own zone: one that does not exist, or exists twice, is refused."""

from datetime import UTC, datetime

from starter.cli.errors import CliError, Code


def read_moment(text: str) -> datetime:
    """The moment, with its zone; one without is in the zone of this machine. CliError if it is none, or two.

    When clocks are put forward, times are left out; when they are put back, times come twice.
    """
    try:
        written = datetime.fromisoformat(text)
        if written.tzinfo is not None:
            return written
        early, late = (written.replace(fold=fold).astimezone() for fold in (0, 1))
        exists = early.astimezone(UTC).astimezone().replace(tzinfo=None) == written.replace(fold=0)
    except (ValueError, OverflowError, OSError):
        message = (
            f'"{text}" is not a moment: write "2030-01-31 18:00", or with a zone "2030-01-31 18:00+01:00"'
        )
        raise CliError(Code.BAD_INPUT, message) from None
    if early.utcoffset() == late.utcoffset():
        return early
    if exists:
        raise CliError(
            Code.BAD_INPUT,
            f'"{text}" comes twice, for clocks are put back then: write {_show(early)} or {_show(late)}',
        )
    # The offset before the change leads behind the gap, the one after it to before it.
    behind, before = (one.astimezone(UTC).astimezone() for one in (early, late))
    raise CliError(
        Code.BAD_INPUT,
        f'"{text}" does not exist, for clocks are put forward then: write {_show(before)} or {_show(behind)}',
    )


def _show(moment: datetime) -> str:
    return f'"{moment.isoformat(sep=" ", timespec="minutes")}"'
