"""Moments as Kubernetes writes them."""

from datetime import datetime
from typing import Any


def time_of(text: Any) -> datetime | None:
    """The moment that stands there; None for what is none."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
