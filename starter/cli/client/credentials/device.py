"""Sign-in on another device: the command shows a code, and waits until the person approves it (RFC 8628)."""

import time
from collections.abc import Callable
from typing import Any

from starter.cli.client.credentials.issuer import (
    DEVICE_GRANT,
    DeviceCode,
    Endpoints,
    GrantRefused,
    IssuerClient,
    Pkce,
)
from starter.cli.errors import CliError, Code

#: RFC 8628, 3.5: how much longer to wait after the answer "slow_down".
SLOW_DOWN_SECONDS = 5.0

#: The end of the flow by error of the issuer; Entra ID has other names.
_ENDS = {
    "access_denied": (Code.NOT_ALLOWED, "the sign-in was denied"),
    "authorization_declined": (Code.NOT_ALLOWED, "the sign-in was denied"),
    "expired_token": (Code.FAILED, "the code has expired: no one approved it in time"),
}


def sign_in_with_device(
    issuer: IssuerClient,
    endpoints: Endpoints,
    *,
    client_id: str,
    scopes: str,
    show: Callable[[DeviceCode], object],
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Return the issuer's answer with the tokens; `show` shows the code to the user.

    Raises:
        CliError: the person denies it, or it takes too long.
    """
    if not endpoints.device:
        message = f"the issuer {endpoints.issuer} has no sign-in by another device"
        steps = ["sign in on a machine with a browser, or with MOORAGE_TOKEN"]
        raise CliError(Code.FAILED, message, next_steps=steps)
    # Not in RFC 8628, but Keycloak requires it of clients that must use PKCE, and others ignore it.
    pkce = Pkce()
    form = {"client_id": client_id, "scope": scopes, **pkce.parameters}
    started = issuer.start_device_flow(endpoints.device, form)
    show(started)
    form = {
        "grant_type": DEVICE_GRANT,
        "client_id": client_id,
        "device_code": started.code,
        "code_verifier": pkce.verifier,
    }
    interval, ends = started.interval, clock() + started.expires_in
    while True:
        sleep(interval)
        try:
            return issuer.grant(endpoints.token, form)
        except GrantRefused as refusal:
            code = refusal.code
        except CliError as error:
            # RFC 8628, 3.5: an issuer that does not answer is asked less often, until the code has expired.
            if error.code is not Code.UNREACHABLE or clock() >= ends:
                raise
            code = "slow_down"
        if code == "slow_down":
            interval += SLOW_DOWN_SECONDS
        elif code != "authorization_pending":
            kind, message = _ENDS.get(
                code, (Code.NOT_ALLOWED, f"the issuer {endpoints.issuer} refuses the sign-in ({code})")
            )
            raise CliError(kind, message, next_steps=["try again with the same command"])
        if clock() >= ends:
            kind, message = _ENDS["expired_token"]
            raise CliError(kind, message, next_steps=["try again with the same command"])
