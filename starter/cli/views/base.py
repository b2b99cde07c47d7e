"""What all views have: they import nothing of the server, and ignore what they do not know.

A view has the fields of the API's response model, and a test compares the two. pydantic alone takes longer to
import than `moorage list` may take in all.
"""

from typing import Any, TypeVar

import msgspec

_View = TypeVar("_View", bound="View")


#: The value of a parameter of a template.
ParameterValue = bool | int | float | str


class View(msgspec.Struct, frozen=True):
    """A part of an answer. Unknown fields are ignored, so that a newer API can be read."""


def parse(content: Any, kind: type[_View]) -> _View:
    """Return the view in the content of a JSON document; raise ValueError if it is not one."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.MsgspecError:
        raise ValueError(f"this is no {kind.__name__}") from None


def to_json(view: View) -> Any:
    """Return the content of the view's JSON document."""
    return msgspec.to_builtins(view)
