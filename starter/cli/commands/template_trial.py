"""`moorage templates try`: creates an environment from a template, uses it, and always removes it."""

import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from starter.cli.context import OutputOption, complete_host, complete_team, complete_template, session
from starter.cli.errors import CliError, Code, Output

if TYPE_CHECKING:
    from starter.cli.client.api import Api
    from starter.environments.schemas import EnvironmentView, TemplateView

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


def try_template(
    ctx: typer.Context,
    template: Annotated[
        str, typer.Argument(help="One of `moorage templates`.", autocompletion=complete_template)
    ],
    team: Annotated[
        str | None,
        typer.Option(help="One of your teams; your first without it.", autocompletion=complete_team),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Host cluster.", autocompletion=complete_host)] = None,
    call: Annotated[
        bool,
        typer.Option(
            "--call/--no-call", help="Call its API server; not from where it cannot be reached (in-cluster)."
        ),
    ] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an environment of a template, use it, and remove it.

    It is yours, has a name of its own, and is removed on failure and on Ctrl-C as well. Exit code 0 if it
    became ready, its kubeconfig works, and nothing is left.

    \b
    Examples: moorage templates try small
              moorage templates try small --host harbour --output json
    """
    with session(ctx, output) as api:
        from starter.cli.output.formatting import print_json
        from starter.environments.schemas import TemplateView

        wanted = TemplateView.model_validate(api.call("GET", f"templates/{_in_a_path(template)}"))
        trying = TemplateTrial(api, wanted, output, call=call)
        with _signals_as_ctrl_c():
            trial = trying.run(team, host)
        if output is Output.JSON:
            print_json(asdict(trial))
        else:
            _print(trial)
        if not trial.well:
            raise _not_well(trial)


class TemplateTrial:
    """One trial. `run` creates and removes at most one environment."""

    def __init__(self, api: "Api", template: "TemplateView", output: Output, *, call: bool) -> None:
        self._api = api
        self._template = template
        self._output = output
        self._call = call
        share = template.name[:_SHARE_OF_NAME].rstrip("-")
        self.name = f"try-{share}-{secrets.token_hex(3)}"
        self._life = ""
        self._host = ""
        self._checks: list[Check] = []

    def run(self, team: str | None, host: str | None) -> Trial:
        """Create, use and remove the environment.

        Raises:
            CliError: The request failed, or it is unknown what is left.
        """
        from starter.cli.output.formatting import say

        interrupted = False
        try:
            self._make(team, host)
        except KeyboardInterrupt:
            interrupted = True
            say(f"Interrupted: removing {self.name}. Once more, and it goes on without this command.")
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

    def _make(self, team: str | None, host: str | None) -> None:
        from contracts.durations import format_duration
        from contracts.environment import Phase
        from starter.cli.follow import follow, is_ready, not_made
        from starter.cli.output.formatting import say

        body = {
            "name": self.name,
            "template": self._template.name,
            "team": team,
            "host": host,
            "ttl": format_duration(min(LIFE, self._template.ttl.maximum)),
        }
        began = time.monotonic()
        done = self._api.call("POST", "environments", body=body, key=secrets.token_hex(16))
        self._life = done["life"]
        if self._output is Output.TABLE:
            say(done["message"])
        view = follow(self._api, self.name, self._life, is_ready, self._output)
        self._host = view.host
        ready = view.phase is Phase.READY and not view.ended
        self._note("ready", began, "" if ready else str(not_made(view)), ready)
        if ready and self._call:
            self._use()

    def _use(self) -> None:
        import asyncio

        from clients.errors import ClientError
        from clients.virtual_cluster import kubernetes_version
        from starter.cli.client.api import environment_path

        began = time.monotonic()
        text = self._api.text(f"{environment_path(self.name)}/kubeconfig")
        try:
            version = asyncio.run(kubernetes_version(text))
        except (ClientError, ValueError) as error:
            self._note("kubeconfig", began, f"{error}; --no-call leaves this out", well=False)
            return
        wanted = self._template.kubernetes.removeprefix("v")
        same = version.removeprefix("v").startswith(wanted)
        detail = f"Kubernetes {version}" + ("" if same else f", and the template says {wanted}")
        self._note("kubeconfig", began, detail, same)

    def _remove(self) -> None:
        from starter.cli.client.api import environment_path
        from starter.cli.follow import follow, is_over

        began = time.monotonic()
        try:
            done = self._api.call("DELETE", environment_path(self.name))
            view = follow(self._api, self.name, done["life"], is_over, self._output)
        except KeyboardInterrupt:
            raise self._left("you did not wait for its end") from None
        except CliError as error:
            if error.code is Code.NOT_FOUND:
                # The trial was interrupted before the API received the request.
                return
            raise self._left(str(error)) from None
        self._note("removed", began, *_what_is_left(view))

    def _note(self, what: str, began: float, detail: str, well: bool) -> None:
        seconds = round(time.monotonic() - began, 1)
        self._checks.append(Check(what=what, well=well, seconds=seconds, detail=detail))

    def _left(self, why: str) -> CliError:
        return CliError(
            Code.FAILED,
            f"it is not known what is left of {self.name}: {why}",
            next_steps=[f"see what becomes of it: moorage watch {self.name}", f"moorage delete {self.name}"],
        )


def _what_is_left(view: "EnvironmentView") -> tuple[str, bool]:
    if view.certificate is None:
        return f"it ended without a certificate. {view.remark}".strip(), False
    left = [one for system in view.certificate.systems for one in system.left]
    if view.ended and view.certificate.nothing_left:
        return "nothing left", True
    return f"left: {', '.join(left) or 'not known'}", False


def _print(trial: Trial) -> None:
    from starter.cli.output.formatting import print_table
    from starter.cli.output.printing import print_line

    rows = [
        [check.what, "well" if check.well else "NOT WELL", f"{check.seconds} s", check.detail]
        for check in trial.checks
    ]
    print_table(("what", "", "took", ""), rows, empty="Nothing was made.")
    if trial.well:
        print_line(f"{trial.template} version {trial.version} works, on {trial.host}.")


def _not_well(trial: Trial) -> CliError:
    unwell = [f"{check.what}: {check.detail}" for check in trial.checks if not check.well]
    if trial.interrupted:
        return CliError(Code.INTERRUPTED, f"the trial of {trial.template} was interrupted", lines=unwell)
    return CliError(Code.FAILED, f"{trial.template} version {trial.version} does not work", lines=unwell)


def _in_a_path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


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
