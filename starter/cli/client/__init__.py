"""The client of Moorage's API: where it is, the calls, and the errors of responses."""

import sys

# httpx imports its own command line where it can, and that takes as long to import as the rest of httpx.
# None makes the import fail, as it does where the optional packages are missing.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
