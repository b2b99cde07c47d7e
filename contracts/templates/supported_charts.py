"""The vCluster charts that Moorage is tested with, and the end of their support.

To move to another release: change `NEWEST_TESTED` here, the templates of `starter/templates`, and the
versions of `tests/cluster` (go/go.mod and singlenode/layout.py). Tests compare them.
"""

import re
from datetime import date

#: The first and the last release with which `make e2e` was green. Every release between them counts as
#: tested.
OLDEST_TESTED = "0.36.0"
NEWEST_TESTED = "0.36.1"
#: The last day on which vCluster supports the releases of one minor version, as vCluster announced it. After
#: it vCluster fixes nothing in them.
SUPPORTED_UNTIL = {"0.36": date(2026, 10, 22)}

_RELEASE = re.compile(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})")


def chart_warning(version: str, today: date) -> str:
    """Return what speaks against this version, as part of a sentence; "" for a tested version."""
    release = _parse(version)
    shown = f"{OLDEST_TESTED} to {NEWEST_TESTED}"
    if release is None:
        return f"{version} is not one release: write a version from {shown}, which are shown to work"
    if release < _known(OLDEST_TESTED):
        return f"{version} is older than what is shown to work: {shown}"
    until = SUPPORTED_UNTIL.get(f"{release[0]}.{release[1]}")
    if until is not None and today > until:
        return f"{version} is past its support, which ended on {until:%Y-%m-%d}"
    if release > _known(NEWEST_TESTED):
        return f"{version} is newer than what is shown to work: {shown}"
    return ""


def _parse(version: str) -> tuple[int, int, int] | None:
    found = _RELEASE.fullmatch(version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _known(version: str) -> tuple[int, int, int]:
    if release := _parse(version):
        return release
    raise ValueError(f"{version} is not a release")
