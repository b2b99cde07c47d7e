"""The commands `moorage login`, `logout` and `whoami`."""

import os
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from starter.cli.arguments.options import examples, output_option
from starter.cli.command_context import report_errors
from starter.cli.connection_options import ConnectionOptions, connection_options_of
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import print_note
from starter.cli.terminal.text import local_time, print_json, print_line
from starter.cli.views.base import parse, to_json
from starter.cli.views.people import CallerView, IssuerView, SignInOptions

if TYPE_CHECKING:
    from starter.cli.client.api import Api
    from starter.cli.client.connection import Connection
    from starter.cli.client.contexts import Context
    from starter.cli.client.credentials.issuer import DeviceCode, Endpoints, IssuerClient
    from starter.cli.client.credentials.sign_out import SignedOut
    from starter.cli.client.credentials.store import Tokens

#: The variables that sign in without `moorage login`.
_TOKEN_VARIABLES = ("MOORAGE_TOKEN", "MOORAGE_TOKEN_FILE")


@click.command(
    epilog=examples(
        "moorage login https://moorage.example.com",
        "moorage login --device",
        "moorage login https://moorage-test.example.com --name test",
    )
)
@click.argument("address", metavar="[URL]", required=False)
@click.option(
    "--device/--browser",
    default=None,
    help="Sign in on another device, or in the browser of this one. Default: --browser where there is one.",
)
@click.option("--name", help="Name of the context. Default: the host of the URL.")
@click.option("--issuer", help="Issuer to sign in at, if there are several. Default: the first.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port for the answer of the browser, if the issuer allows only one. Default: a free one.",
)
@output_option()
@click.pass_context
def login(
    ctx: click.Context,
    address: str | None,
    device: bool | None,
    name: str | None,
    issuer: str | None,
    port: int,
    output: Output,
) -> None:
    """Sign in to the installation at URL, or again to the one of the current context.

    It becomes the current context. The sign-in is renewed until you sign out, or until your issuer ends it.
    """
    with report_errors(output):
        from starter.cli.client.api import Api
        from starter.cli.client.connection import Connection
        from starter.cli.client.contexts import change_contexts, with_context
        from starter.cli.client.credentials.browser import has_browser
        from starter.cli.client.credentials.issuer import IssuerClient, tokens_of
        from starter.cli.client.credentials.store import locked_tokens, save_tokens

        context = _context_for(connection_options_of(ctx), address, name)
        quiet = output is Output.JSON
        with Api(
            Connection(context.url, ca_file=context.ca_file, ca_setting="--ca-file"), quiet=quiet
        ) as api:
            offered = _choose(_sign_in_options(api, context.url), issuer, context.url)
        with IssuerClient(offered.url, ca_file=context.ca_file) as client:
            endpoints = client.discover()
            is_device = not has_browser() if device is None else device
            answer = _sign_in(client, endpoints, offered, is_device=is_device, port=port)
            tokens = tokens_of(answer, endpoints, url=context.url, client_id=offered.client_id)
            person = _check(context, tokens, client, quiet=quiet)
        signed_in = replace(context, person=person.email)
        # Of two sign-ins, or a renewal, at the same time, the tokens and the person are of the same one.
        with locked_tokens(context):
            save_tokens(context, tokens)
            change_contexts(lambda contexts: with_context(contexts, signed_in))
        if quiet:
            print_json(
                {"context": context.name, "url": context.url, "issuer": offered.url, **to_json(person)}
            )
            return
        teams = ", ".join(person.teams)
        print_note(f"Signed in to {context.url} as {person.email} ({person.role}; {teams}).")
        print_note(f"The context {context.name} is the current one.")
        if not tokens.refresh_token:
            until = local_time(datetime.fromtimestamp(tokens.expires_at, UTC))
            print_note(f"It ends {until}: the issuer gave no refresh token (add the scope offline_access).")
        for variable in ("MOORAGE_URL", "MOORAGE_TOKEN", "MOORAGE_TOKEN_FILE", "MOORAGE_STATE"):
            if os.environ.get(variable):
                print_note(f"{variable} is set, and wins over contexts: unset it to use the sign-in.")


def _context_for(options: ConnectionOptions, url: str | None, name: str | None) -> "Context":
    """Return the context that the sign-in is for: a new one, or the one that has this URL or name."""
    from clients.transport.secure_urls import require_https
    from starter.cli.client.connection import ensure_url, find_url
    from starter.cli.client.contexts import Context, ensure_name, name_of, read_contexts

    if url is None:
        url, found = find_url(options)
    else:
        found = None
    ensure_url(url)
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise CliError(Code.BAD_INPUT, "the URL of the API has no name, password, query or fragment")
    try:
        require_https(url)
    except ValueError as error:
        raise CliError(Code.BAD_INPUT, f"{url} {error}") from None
    contexts = read_contexts()
    if found is None or found.stack is not None:
        # Of several sign-ins at one installation, the current one is renewed.
        candidates = (contexts.by_name.get(contexts.current), *contexts.by_name.values())
        found = next((one for one in candidates if one and one.stack is None and one.matches(url)), None)
    own = ensure_name(name or (found.name if found else name_of(url)))
    found = contexts.by_name.get(own)
    if found is not None and (found.stack is not None or not found.matches(url)):
        message = f"the context {own} is another installation: {found.url}"
        step = f"choose another name with --name, or remove it: moorage context remove {own}"
        if found.stack is not None:
            message = f"the context {own} is the stack of moorage up, which needs no sign-in"
            step = "choose another name with --name"
        raise CliError(Code.BAD_INPUT, message, next_steps=[step])
    ca_file = options.ca_file or (Path(text) if (text := os.environ.get("MOORAGE_CA_FILE")) else None)
    if ca_file is None and found is not None:
        ca_file = found.ca_file
    return Context(own, url.rstrip("/"), ca_file.absolute() if ca_file else None)


def _sign_in_options(api: "Api", url: str) -> SignInOptions:
    try:
        return parse(api.call("GET", "sign-in"), SignInOptions)
    except CliError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        message = f"the server at {url} is not Moorage's API: it has no /api/v1/sign-in"
        raise CliError(Code.UNREACHABLE, message, next_steps=["check the URL"]) from None


def _choose(options: SignInOptions, issuer: str | None, url: str) -> IssuerView:
    if not options.issuers:
        step = "ask the platform team for a token, and set MOORAGE_TOKEN"
        message = f"the installation at {url} has no sign-in"
        raise CliError(Code.FAILED, message, next_steps=[step])
    if issuer is None:
        return options.issuers[0]
    for each in options.issuers:
        if each.url.rstrip("/") == issuer.rstrip("/"):
            return each
    known = ", ".join(each.url for each in options.issuers)
    raise CliError(Code.BAD_INPUT, f"--issuer: the installation at {url} has {known}")


def _sign_in(
    client: "IssuerClient", endpoints: "Endpoints", offered: IssuerView, *, is_device: bool, port: int
) -> dict[str, Any]:
    from starter.cli.client.credentials.browser import sign_in_with_browser
    from starter.cli.client.credentials.device import sign_in_with_device

    if is_device:
        return sign_in_with_device(
            client, endpoints, client_id=offered.client_id, scopes=offered.scopes, show=_show_code
        )
    return sign_in_with_browser(
        client,
        endpoints,
        client_id=offered.client_id,
        scopes=offered.scopes,
        port=port,
        open_browser=_open_browser,
    )


def _show_code(code: "DeviceCode") -> None:
    print_note(f"On any device, open  {code.complete_uri or code.uri}")
    print_note(f"and check, or enter, the code  {code.user_code}")
    print_note("Waiting for your approval …")


def _open_browser(address: str) -> None:
    import webbrowser

    print_note("Sign in in the browser. If none opens, open this address yourself:")
    # Not cut and not wrapped: the user copies it.
    print_line(address, file=sys.stderr, flush=True)
    with suppress(webbrowser.Error, OSError):
        webbrowser.open(address)


def _check(context: "Context", tokens: "Tokens", client: "IssuerClient", *, quiet: bool) -> CallerView:
    """Return who the API says that the token belongs to; a token that it refuses is not kept."""
    from starter.cli.client.api import Api
    from starter.cli.client.connection import Connection

    connection = Connection(context.url, tokens.access_token, context.ca_file, "--ca-file")
    try:
        with Api(connection, quiet=quiet) as api:
            return parse(api.call("GET", "whoami"), CallerView)
    except CliError:
        if tokens.refresh_token and tokens.revocation_endpoint:
            with suppress(CliError):
                client.revoke(tokens.revocation_endpoint, tokens.client_id, tokens.refresh_token)
        raise


@click.command(epilog=examples("moorage logout", "moorage --context test logout"))
@output_option()
@click.pass_context
def logout(ctx: click.Context, output: Output) -> None:
    """Sign out of the current context: end the sign-in at the issuer, and forget it here."""
    with report_errors(output):
        from starter.cli.client.connection import find_url

        url, context = find_url(connection_options_of(ctx))
        if context is None or context.stack is not None:
            message = f"there is no sign-in for {url}"
            if context is not None:
                message = f"the context {context.name} is the stack of moorage up, which needs no sign-in"
            raise CliError(Code.NOT_FOUND, message, next_steps=["moorage context list"])
        done = end_sign_in(context)
        if variable := next((each for each in _TOKEN_VARIABLES if os.environ.get(each)), None):
            print_note(f"{variable} is set, and commands that use it are still signed in: unset it as well.")
        if output is Output.JSON:
            print_json(
                {"context": context.name, "was_signed_in": done.was_signed_in, "revoked": done.revoked}
            )
        elif not done.was_signed_in:
            print_note(f"You were not signed in to {context.url}.")
        else:
            print_note(f"Signed out of {context.url}.")
            if not done.revoked:
                print_note(f"The issuer did not end the sign-in ({done.problem}); it ends by itself.")


def end_sign_in(context: "Context") -> "SignedOut":
    """Sign out of the context, and delete the certificates for kubectl that sign-ins have given."""
    from starter.cli.client.credentials.sign_out import sign_out
    from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder

    done = sign_out(context)
    # All of them, because a later command gets a new one.
    CertificateCache(cache_folder()).clear()
    return done


@click.command(epilog=examples("moorage whoami", "moorage whoami --output json"))
@output_option()
@click.pass_context
def whoami(ctx: click.Context, output: Output) -> None:
    """Show who you are for the API: address, teams, role, and with which credential until when."""
    with report_errors(output):
        from starter.cli.client.api import Api
        from starter.cli.client.connection import find_connection

        connection = find_connection(connection_options_of(ctx))
        with Api(connection, quiet=output is Output.JSON) as api:
            person = parse(api.call("GET", "whoami"), CallerView)
        ends = _end_of(connection)
        if output is Output.JSON:
            credential = {
                "source": connection.source,
                "expires_at": ends.isoformat().replace("+00:00", "Z") if ends else None,
                "is_renewed": connection.session is not None,
            }
            place = {"url": connection.url, "context": connection.context or None, "credential": credential}
            print_json({**to_json(person), **place})
            return
        until = local_time(ends) if ends else "it is taken away"
        rows = {
            "person": person.person,
            "address": person.email,
            "teams": ", ".join(person.teams),
            "role": str(person.role),
            "API": connection.url,
            "context": connection.context,
            "credential": connection.source,
            "until": f"{until}, renewed by itself" if connection.session else until,
        }
        for name, text in rows.items():
            if text:
                print_line(f"{name:<11} {text}")


def _end_of(connection: "Connection") -> datetime | None:
    """Return when the credential expires; None for a token of the API's file, which says nothing."""
    if connection.session is not None:
        return datetime.fromtimestamp(connection.session.tokens.expires_at, UTC).replace(microsecond=0)
    return _expiry_of_jwt(connection.token)


def _expiry_of_jwt(token: str) -> datetime | None:
    """Return the end that a signed token names, for display only: it is not verified here."""
    import base64
    import json

    try:
        _, claims, _ = token.split(".")
        content = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return datetime.fromtimestamp(int(content["exp"]), UTC)
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError):
        return None
