"""Whose is it? The owner mark on what is found decides whether a step may touch it, and nothing else does."""

from collections.abc import Mapping

from activities.errors import Conflict
from contracts.naming import LABEL_INSTALLATION, LABEL_LIFE, LABEL_NAME, OwnerMark

#: Said by remove when there was nothing to do.
NOTHING_THERE = "nothing was there"


def mark_text(labels: Mapping[str, str]) -> str | None:
    """The mark that labels bear, as the text that it is where there is free text; None for none."""
    parts = [labels.get(key) for key in (LABEL_INSTALLATION, LABEL_NAME, LABEL_LIFE)]
    return "/".join(part or "" for part in parts) if any(parts) else None


def whose(found: str | None, ours: OwnerMark) -> str:
    """Whose a thing is that bears the text `found` where our mark would be, in words."""
    parts = (found or "").split("/")
    if len(parts) != len(ours.text.split("/")) or not all(parts):
        return "was not made by Moorage"
    installation, name, life = parts
    if installation != ours.installation:
        return f"belongs to another installation of Moorage, {installation}"
    if name != ours.name:
        return f"belongs to the environment {name}"
    if life != ours.life:
        return f"belongs to another life of the environment {name}"
    return "is this environment's"


def require_ours(system: str, thing: str, found: str | None, ours: OwnerMark) -> None:
    """Return if `found` is exactly our mark; else a Conflict that says whose the thing seems to be."""
    if not ours.is_text(found):
        raise Conflict(
            system,
            f"{thing} exists in the {system} and {whose(found, ours)}",
            "Choose another name, or have its owner remove it",
        )


def left_alone(thing: str, found: str | None, ours: OwnerMark) -> str:
    """The note of a remove that met somebody else's thing."""
    return f"left alone: {thing} {whose(found, ours)}"
