"""The ownership check: only the owner mark on a resource decides whether a step may touch it."""

from collections.abc import Mapping

from activities.errors import Conflict
from contracts.types.naming import LABEL_INSTALLATION, LABEL_LIFE, LABEL_NAME, OwnerMark

#: Note of a remove step that found nothing to remove.
NOTHING_THERE = "nothing was there"


def mark_text(labels: Mapping[str, str]) -> str | None:
    """Return the mark in the labels, in the text form that descriptions use; None without a mark."""
    parts = [labels.get(key) for key in (LABEL_INSTALLATION, LABEL_NAME, LABEL_LIFE)]
    return "/".join(part or "" for part in parts) if any(parts) else None


def describe_owner(found: str | None, ours: OwnerMark) -> str:
    """Describe in words who owns a resource that has the text `found` in the place of our mark."""
    other = OwnerMark.parse(found)
    if other is None:
        return "was not made by Moorage"
    if other.installation != ours.installation:
        return f"belongs to another installation of Moorage, {other.installation}"
    if other.name != ours.name:
        return f"belongs to the environment {other.name}"
    if other.life != ours.life:
        return f"belongs to another life of the environment {other.name}"
    return "is this environment's"


def require_ours(system: str, thing: str, found: str | None, ours: OwnerMark) -> None:
    """Return if `found` is exactly our mark; else raise a Conflict that names the apparent owner."""
    if not ours.matches_text(found):
        other = OwnerMark.parse(found)
        is_earlier_life = other is not None and (other.installation, other.name) == (
            ours.installation,
            ours.name,
        )
        raise Conflict(
            system,
            f"{thing} exists in the {system} and {describe_owner(found, ours)}",
            f"The platform team removes what it has left: moorage teardown {ours.name} --force"
            if is_earlier_life
            else "Choose another name, or have its owner remove it",
        )


def note_foreign(thing: str, found: str | None, ours: OwnerMark) -> str:
    """Return the note of a remove step that found a resource of another owner."""
    return f"left alone: {thing} {describe_owner(found, ours)}"
