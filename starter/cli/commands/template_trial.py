"""`moorage templates try`: creates an environment from a template, uses it, and always removes it."""

import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from contracts.phases import Phase
from contracts.types.durations import format_duration
from starter.cli.arguments.options import (
    examples,
    host_option,
    output_option,
    parse_settings,
    set_option,
    team_option,
    template_argument,
)
from starter.cli.client.api_paths import environment_path, template_path
from starter.cli.command_context import api_session
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import creation_failure, follow, is_over, is_ready
from starter.cli.output.formatting import print_note, print_table
from starter.cli.terminal.text import print_json, print_line
from starter.cli.views.base import parse
from starter.cli.views.environments import EnvironmentView
from starter.cli.views.templates import TemplateView

if TYPE_CHECKING:
    from starter.cli.client.api import Api

#: Time to live of the environment: if this process is killed, the environment ends soon without it.
LIFE = timedelta(hours=1)
#: Maximum length of the template's part of the name, so that "try-", this part, and a unique suffix have at
#: most 30 characters together.
_SHARE_OF_NAME = 18
#: Signals with which a terminal and a service manager end a command. A trial first removes what it has
#: created.
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Check:
    """One check of a trial."""

    what: str
    well: bool
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Trial:
    """The result of a trial. It is well if every check is well; an interrupted trial is not."""

    template: str
    version: int
    environment: str
    host: str = ""
    well: bool = False
    interrupted: bool = False
    checks: tuple[Check, ...] = ()


@click.command(
    epilog=examples("moorage templates try small", "moorage templates try small --host harbour --output json")
)
@template_argument
@set_option
@team_option
@host_option
@click.option(
    "--call/--no-call",
    default=True,
    help="Call its API server, or not if this machine cannot reach it. Default: --call.",
)
@output_option()
@click.pass_context
def try_template(
    ctx: click.Context,
    template: str,
    settings: tuple[str, ...],
    team: str | None,
    host: str | None,
    call: bool,
    output: Output,
) -> None:
    """Create an environment of a template, use it, and remove it.

    It is yours, has a unique name, and is also removed after a failure and after Ctrl-C. Exit code 0 if it
    became ready, its kubeconfig works, and nothing is left.
    """
    parameters = parse_settings(settings)
    with api_session(ctx, output) as api:
        wanted = parse(api.call("GET", template_path(template)), TemplateView)
        trial = TemplateTrial(api, wanted, output, call=call)
        with _signals_as_ctrl_c():
            result = trial.run(team, host, parameters)
        if output is Output.JSON:
            print_json(asdict(result))
        else:
            _print(result)
        if not result.well:
            raise _failure(result)


class TemplateTrial:
    """One trial. `run` creates and removes at most one environment."""

    def __init__(self, api: "Api", template: TemplateView, output: Output, *, call: bool) -> None:
        self._api = api
        self._template = template
        self._output = output
        self._call = call
        share = template.name[:_SHARE_OF_NAME].rstrip("-")
        self.name = f"try-{share}-{secrets.token_hex(3)}"
        self._life = ""
        self._host = ""
        self._checks: list[Check] = []

    def run(self, team: str | None, host: str | None, parameters: Mapping[str, str]) -> Trial:
        """Create, use and remove the environment.

        Raises:
            CliError: The request failed, or it is unknown what is left.
        """
        interrupted = False
        try:
            self._make(team, host, parameters)
        except KeyboardInterrupt:
            interrupted = True
            print_note(f"Interrupted: removing {self.name}. A second Ctrl-C ends only this command.")
        except CliError as error:
            if not self._life:
                raise
            self._checks.append(Check(what="ready", well=False, seconds=0, detail=str(error)))
        self._remove()
        return Trial(
            template=self._template.name,
            version=self._template.version,
            environment=self.name,
            host=self._host,
            well=not interrupted and all(check.well for check in self._checks),
            interrupted=interrupted,
            checks=tuple(self._checks),
        )

    def _make(self, team: str | None, host: str | None, parameters: Mapping[str, str]) -> None:
        body = {
            "name": self.name,
            "template": self._template.name,
            "team": team,
            "host": host,
            "parameters": dict(parameters),
            "ttl": format_duration(min(LIFE, self._template.ttl.maximum)),
        }
        started = time.monotonic()
        done = self._api.call("POST", "environments", body=body, key=secrets.token_hex(16))
        self._life = done["life"]
        if self._output is Output.TABLE:
            print_note(done["message"])
        view = follow(self._api, self.name, self._life, is_ready, self._output)
        self._host = view.host
        ready = view.phase is Phase.READY and not view.ended
        self._add_check("ready", started, "" if ready else str(creation_failure(view)), ready)
        if ready and self._call:
            self._use()

    def _use(self) -> None:
        import asyncio

        from clients.errors import ClientError
        from clients.virtual_cluster import kubernetes_version
        from starter.cli.kubeconfig.certificates import request_certificate
        from starter.cli.kubeconfig.user_entries import embedded_kubeconfig, read_api_kubeconfig

        started = time.monotonic()
        given = read_api_kubeconfig(self._api.text(f"{environment_path(self.name)}/kubeconfig"))
        try:
            certificate = request_certificate(self._api, self.name, person=given.person, life=given.life)
            text = embedded_kubeconfig(given, self.name, certificate)
            version = asyncio.run(kubernetes_version(text))
        except (ClientError, CliError, ValueError) as error:
            self._add_check("kubeconfig", started, f"{error}; --no-call leaves this out", well=False)
            return
        wanted = self._template.kubernetes.removeprefix("v")
        same = version.removeprefix("v").startswith(wanted)
        detail = f"Kubernetes {version}" + ("" if same else f", and the template says {wanted}")
        self._add_check("kubeconfig", started, detail, same)

    def _remove(self) -> None:
        started = time.monotonic()
        try:
            done = self._api.call("DELETE", environment_path(self.name))
            view = follow(self._api, self.name, done["life"], is_over, self._output)
        except KeyboardInterrupt:
            raise self._unknown_remains("you did not wait for its end") from None
        except CliError as error:
            if error.code is Code.NOT_FOUND:
                # The trial was interrupted before the API received the request.
                return
            raise self._unknown_remains(str(error)) from None
        self._add_check("removed", started, *_remains(view))

    def _add_check(self, what: str, started: float, detail: str, well: bool) -> None:
        seconds = round(time.monotonic() - started, 1)
        self._checks.append(Check(what=what, well=well, seconds=seconds, detail=detail))

    def _unknown_remains(self, why: str) -> CliError:
        return CliError(
            Code.FAILED,
            f"it is not known what is left of {self.name}: {why}",
            next_steps=[f"see what becomes of it: moorage watch {self.name}", f"moorage delete {self.name}"],
        )


def _remains(view: EnvironmentView) -> tuple[str, bool]:
    if view.certificate is None:
        return f"it ended without a certificate. {view.remark}".strip(), False
    left = [one for system in view.certificate.systems for one in system.left]
    if view.ended and view.certificate.nothing_left:
        return "nothing left", True
    return f"left: {', '.join(left) or 'not known'}", False


def _print(trial: Trial) -> None:
    rows = [
        [check.what, "ok" if check.well else "FAILED", f"{check.seconds} s", check.detail]
        for check in trial.checks
    ]
    print_table(("what", "", "took", ""), rows, empty="Nothing was made.")
    if trial.well:
        print_line(f"{trial.template} version {trial.version} works, on {trial.host}.")


def _failure(trial: Trial) -> CliError:
    unwell = [f"{check.what}: {check.detail}" for check in trial.checks if not check.well]
    if trial.interrupted:
        return CliError(Code.INTERRUPTED, f"the trial of {trial.template} was interrupted", lines=unwell)
    return CliError(Code.FAILED, f"{trial.template} version {trial.version} does not work", lines=unwell)


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Handle signals like Ctrl-C, so that a trial that is ended by one removes its environment."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
