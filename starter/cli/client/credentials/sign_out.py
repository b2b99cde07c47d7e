"""The end of a sign-in: at the issuer if it can, and on this machine in any case."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from starter.cli.client.contexts import Context
from starter.cli.client.credentials.store import forget_tokens, load_tokens, locked_tokens, refresh_token_of
from starter.cli.errors import CliError


@dataclass(frozen=True)
class SignedOut:
    """What a sign-out has done. `problem`: why the issuer did not revoke the tokens."""

    was_signed_in: bool
    revoked: bool = False
    problem: str = ""


def sign_out(context: Context, environ: Mapping[str, str] = os.environ) -> SignedOut:
    """Revoke the tokens of the context at the issuer, and forget them, whatever the issuer answers."""
    from starter.cli.client.credentials.issuer import IssuerClient

    # A renewal at the same time would keep new tokens of a session that ends here.
    with locked_tokens(context, environ):
        tokens = load_tokens(context, environ)
        if tokens is None:
            return SignedOut(was_signed_in=False)
        problem = "it cannot revoke tokens"
        try:
            if tokens.revocation_endpoint and (token := refresh_token_of(context, tokens)):
                with IssuerClient(tokens.issuer, ca_file=context.ca_file) as issuer:
                    issuer.revoke(tokens.revocation_endpoint, tokens.client_id, token)
                problem = ""
        except CliError as error:
            problem = str(error)
        finally:
            forget_tokens(context, environ)
    return SignedOut(was_signed_in=True, revoked=not problem, problem=problem)
