"""The stand-ins for Rafay, directories, the host cluster and the OpenID provider, in one process.

`python -m embedded.standins`: serves those that the variable `STAND_INS` names, until it is stopped or its
parent ends; see `embedded.standin_options`.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack

from pydantic import ValidationError

from embedded.asgi_server import serve
from embedded.sqlite_file import OtherSchema
from embedded.standin_options import VARIABLE, StandInOptions


async def run(
    options: StandInOptions, *, stop_with_parent: bool = True, when_ready: Callable[[], None] = lambda: None
) -> None:
    """Serve the stand-ins until a signal; call `when_ready` once all of them can be connected to."""
    async with AsyncExitStack() as opened:
        running = []
        # Each is imported only where it is served: the directory's models alone take half a second.
        if options.control_plane:
            from embedded.rafay.app import open_rafay

            running.append(opened.enter_context(open_rafay(options.control_plane)))
        if options.directory:
            from embedded.directory.application import open_directory

            running.append(opened.enter_context(open_directory(options.directory)))
        if options.okta:
            from embedded.cloud_directories.okta.application import open_okta

            running.append(opened.enter_context(open_okta(options.okta)))
        if options.entra:
            from embedded.cloud_directories.entra.application import open_entra

            running.append(opened.enter_context(open_entra(options.entra)))
        if options.host:
            from embedded.host.application import open_host

            running.append(await opened.enter_async_context(open_host(options.host)))
        if options.openid_provider:
            from embedded.openid.app import open_openid

            running.append(opened.enter_context(open_openid(options.openid_provider)))
        when_ready()
        await serve(running, stop_with_parent=stop_with_parent)


def main() -> None:
    """Read the options and serve."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # Failed requests have printed their own traceback.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    try:
        options = StandInOptions.model_validate_json(os.environ.pop(VARIABLE, ""))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        sys.exit(f"{VARIABLE} cannot be used: {'; '.join(problems)}")
    try:
        asyncio.run(run(options))
    except (OSError, OtherSchema, ExceptionGroup) as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, OSError | OtherSchema):
            raise
        sys.exit(f"the stand-ins cannot start: {first}")


if __name__ == "__main__":
    main()
