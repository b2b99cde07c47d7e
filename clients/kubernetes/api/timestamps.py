"""Timestamps in Kubernetes' notation."""

from datetime import datetime
from typing import Any


def parse_timestamp(text: Any) -> datetime | None:
    """Parse a timestamp; return None if the text is not one."""
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
