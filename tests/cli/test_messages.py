"""What commands take and say, without a process and without an API: options, prompts, zones, causes first."""

import io
import json
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

import moorage
from contracts.environment.models import Outcome, Phase, Problem, StepName, StepState
from contracts.types.durations import parse_duration
from starter.cli.app import build
from starter.cli.arguments.prompts import ask, confirm
from starter.cli.batch import run_in_turn
from starter.cli.connection_options import ConnectionOptions
from starter.cli.errors import CliError, Code, Output
from starter.cli.follow import pass_ended_since
from starter.cli.output.formatting import elapsed, print_environment, problem_line, unwell_line
from starter.cli.output.live_progress import ProgressLines
from starter.cli.terminal import text as terminal_text
from starter.cli.views.environments import EnvironmentRow
from starter.cli.views.environments import StepView as ClientStepView
from starter.cli.views.environments import Unwell as ClientUnwell
from starter.environments.lists.retry_status import trouble_of
from starter.environments.schemas import EnvironmentView, FreezeView, Progress, StepView, Unwell
from tests.support.client_views import client_view

NOW = datetime.now(UTC)


def a_view(**fields: Any) -> EnvironmentView:
    return EnvironmentView(
        **{
            "name": "demo", "life": "l", "owner": "a@example.com", "team": "blue", "template": "small",
            "host": "main", "phase": Phase.READY, "requested_at": NOW,
        } | fields
    )  # fmt: skip


a_server_view = a_view


def a_problem(step: str = "group", **fields: str) -> Problem:
    return Problem(
        **{"step": step, "system": "Rafay", "cause": f"{step} fails.", "remedy": "Mend it.", "type": "X"}
        | fields
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (io.StringIO("y\n"), Code.BAD_INPUT),
        (io.StringIO("n\n"), Code.BAD_INPUT),
        (io.StringIO(""), Code.BAD_INPUT),
        (Terminal("\n"), Code.BAD_INPUT),
        (Terminal(""), Code.BAD_INPUT),
        (Terminal("n\n"), Code.FAILED),
        (Terminal("perhaps\n"), Code.FAILED),
        (Terminal("y\n"), None),
        (Terminal("Yes\n"), None),
    ],
)
def test_nothing_is_done_without_a_yes(
    monkeypatch: pytest.MonkeyPatch, stdin: io.StringIO, code: Code | None
) -> None:
    """Ensures that only a yes at a terminal is taken for one; else it says what to give."""
    monkeypatch.setattr(sys, "stdin", stdin)
    confirm("Delete it?", yes=True, refused="nothing was deleted")
    if code is None:
        confirm("Delete it?", yes=False, refused="nothing was deleted")
        return
    with pytest.raises(CliError) as failed:
        confirm("Delete it?", yes=False, refused="nothing was deleted")
    assert failed.value.code is code
    assert bool(failed.value.next_steps) == (code is Code.BAD_INPUT)


def test_ctrl_c_at_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that Ctrl-C at a question is 130, also where text is asked for."""

    class Interrupted(Terminal):
        def readline(self, *_: Any) -> str:  # type: ignore[override]
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    for prompt in (
        lambda: confirm("Delete it?", yes=False, refused=""),
        lambda: ask("Reason", None, "--reason"),
    ):
        with pytest.raises(CliError) as failed:
            prompt()
        assert failed.value.code is Code.INTERRUPTED
    assert ask("Reason", "a fair", "--reason") == "a fair"


def ended(*arguments: str) -> int:
    """The exit code of a command in this process."""
    return int(build(moorage.COMMANDS).main(list(arguments), standalone_mode=False))


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--nope", "-o", "json"),
        ("list", "--nope", "-ojson"),
        ("list", "--nope", "--output=json"),
        ("-o", "json", "show"),
        ("--output", "json", "nothing"),
        ("-o", "json", "list", "--limit", "none"),
        ("templates", "try", "-o", "json"),
        ("-o", "wide", "-o", "json", "delete"),
    ],
)
def test_usage_errors_for_programs(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """Ensures that a usage error is reported in JSON when JSON is asked for."""
    assert ended(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["exit_code"] == 2


def test_options_before_and_after_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    """Ensures that -o, --url and --token-file are taken at either place, the later word winning."""
    seen: list[ConnectionOptions] = []

    def find(options: ConnectionOptions) -> None:
        seen.append(options)
        raise CliError(Code.UNREACHABLE, "stop here")

    monkeypatch.setattr("starter.cli.client.connection.find_connection", find)
    token = str(tmp_path / "token")
    for arguments in (
        ("-o", "json", "--url", "http://a", "--token-file", token, "list"),
        ("list", "-o", "json", "--url", "http://a", "--token-file", token),
        ("--url", "http://b", "list", "--url", "http://a", "--output=json", "--token-file", token),
        ("-o", "json", "--url", "http://a", "templates", "--token-file", token, "show", "small"),
        ("-o", "json", "templates", "show", "small", "--url", "http://a", "--token-file", token),
    ):
        assert ended(*arguments) == 5, arguments
        assert json.loads(capsys.readouterr().err)["detail"] == "stop here"
        assert (seen[-1].url, str(seen[-1].token_file)) == ("http://a", token), arguments
    assert ended("-o", "wide", "show", "demo") == 2, "a way that the command does not have"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("PT8H", timedelta(hours=8)),
        ("P1DT12H", timedelta(days=1, hours=12)),
        ("P2W", timedelta(weeks=2)),
        ("pt90m", timedelta(minutes=90)),
        ("PT0.5S", timedelta(seconds=0.5)),
        ("1d 12h", timedelta(days=1, hours=12)),
    ],
)
def test_lengths_of_time_as_json_has_them(text: str, expected: timedelta) -> None:
    """Ensures that what an answer in JSON says can be given back."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["P", "PT", "P1Y", "P1M", "-PT8H", "PT8", "P1DT", "PT1H1D", "P9999999D"])
def test_what_is_no_length_of_time(text: str) -> None:
    """Ensures that years, months and nonsense are refused with what would be right."""
    with pytest.raises(ValueError, match="is not a length of time"):
        parse_duration(text)


def test_one_zone_in_one_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that moments of the API are shown to people in their own zone, and to programs as they are."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        error = CliError(
            Code.FAILED, "it ends 2030-01-31 18:00:00 UTC already", lines=["2030-02-01 00:00:00 UTC"]
        )
        error.show(Output.TABLE)
        shown = capsys.readouterr().err
        assert "Fri 2030-02-01 03:00 JST already" in shown
        assert "UTC" not in shown
        error.show(Output.JSON)
        assert "18:00:00 UTC" in capsys.readouterr().err
        terminal_text.print_line("2030-13-31 18:00:00 UTC")
        assert capsys.readouterr().out == "2030-13-31 18:00:00 UTC\n"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_cause_comes_first() -> None:
    """Ensures that the cause of a failure is printed at once, not after the undo."""
    out = io.StringIO()
    lines = ProgressLines(out)
    step = StepView(step=StepName.GROUP, system="control plane", state=StepState.UNDO_FAILED, note="it fails")
    lines.update(client_view(a_view(phase=Phase.PROVISIONING)))
    failed = a_view(
        phase=Phase.TEARING_DOWN, outcome=Outcome.FAILED, problem=a_problem("vcluster"), steps=(step,),
        next_pass_at=NOW + timedelta(minutes=5),
    )  # fmt: skip
    lines.update(client_view(failed))
    lines.update(client_view(failed))
    printed = [line[10:] for line in out.getvalue().splitlines()]
    assert printed[1] == "demo could not be created. vcluster: vcluster fails."
    assert printed[2].startswith("group: undo failed")
    assert printed[4].startswith("the teardown is not complete; the next pass starts ")
    assert len(printed) == 5, "something is said twice"


def test_an_undo_that_never_ran_has_no_duration() -> None:
    """Ensures that no time is shown for what was not tried."""
    assert elapsed(ClientStepView(step=StepName.GROUP, system="", state=StepState.UNDO_FAILED)) == ""


def test_an_end_under_a_freeze(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that no end is promised while all ends are frozen, nor for what is being torn down."""
    frozen = FreezeView(by="alice@example.com", reason="a fair")
    print_environment(client_view(a_view(expires_at=NOW + timedelta(hours=1), frozen=frozen)))
    shown = capsys.readouterr().out
    assert "ends:         not before the thaw: all ends are frozen by alice@example.com: a fair; " in shown
    ending = a_view(
        phase=Phase.TEARING_DOWN, outcome=Outcome.DELETED, expires_at=NOW + timedelta(hours=1),
        next_pass_at=datetime.now(UTC) + timedelta(days=5),
    )  # fmt: skip
    print_environment(client_view(ending))
    shown = capsys.readouterr().out
    assert "\nends:" not in shown
    assert re.search(r"next pass: +in (5d|4d 23h) \(", shown)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (a_view(), None),
        (a_view(ended=True, phase=Phase.GONE, unfinished=(a_problem(),)), None),
        (
            a_view(unfinished=(a_problem("project", type="Blocked"), a_problem("group")), next_pass_at=NOW),
            "not undone: group: group fails.",
        ),
        (
            a_view(phase=Phase.TEARDOWN_INCOMPLETE, unfinished=(a_problem("group"), a_problem("import"))),
            "not undone: group: group fails. (and 1 more) It waits for the platform team.",
        ),
        (
            a_view(
                steps=(
                    StepView(
                        step=StepName.GROUP, system="", state=StepState.RUNNING,
                        progress=Progress(last_failure="503", next_attempt_at=NOW),
                    ),
                )
            ),
            "group: 503",
        ),
        (a_view(ended=True, phase=Phase.ORPHANED, remark="Closed."), "Closed."),
    ],
)  # fmt: skip
def test_what_holds_it_up(view: EnvironmentView, expected: str | None) -> None:
    """Ensures that a list can say why something does not get on: the cause, not what waits for it."""
    trouble = trouble_of(view)
    assert (trouble.problem if trouble else None) == expected


def test_a_row_with_its_next_try() -> None:
    """Ensures that a list says when it is tried again."""
    row = EnvironmentRow(
        name="demo", life="l", owner="", team="", template="", host="", phase=Phase.TEARING_DOWN,
        requested_at=NOW, problem="not undone: group: it fails.",
        next_try_at=datetime.now(UTC) + timedelta(days=2),
    )  # fmt: skip
    assert re.match(r"demo: not undone: group: it fails; next try in (2d|1d 23h) \(", problem_line(row))


def test_a_row_that_is_not_well() -> None:
    """Ensures that a list says what is wrong with a ready environment, and since when if that is known."""
    row = EnvironmentRow(
        name="demo", life="l", owner="", team="", template="", host="", phase=Phase.READY,
        requested_at=NOW, unwell=ClientUnwell(what="its quota is gone"),
    )  # fmt: skip
    assert unwell_line(row) == "demo: its quota is gone"
    since = msgspec.structs.replace(row, unwell=ClientUnwell(what="its quota is gone", since=NOW))
    assert unwell_line(since).startswith("demo: its quota is gone, since ")


def test_a_watch_says_what_is_wrong_once() -> None:
    """Ensures that a log has one line when an environment gets unwell, and one when it is well again."""
    out = io.StringIO()
    lines = ProgressLines(out)
    for unwell in (None, Unwell(what="its quota is gone"), Unwell(what="its quota is gone", since=NOW), None):
        lines.update(client_view(a_view(phase=Phase.READY, unwell=unwell)))
    printed = [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]
    assert printed == ["demo is ready", "but: its quota is gone", "demo is well again"]


def test_when_a_pass_that_was_started_is_over() -> None:
    """Ensures that what was shown before the pass is not taken for its end."""
    entry = {"at": NOW, "actor": "alice", "action": "had the next pass start at once"}

    def a_view(**fields: Any) -> Any:
        return client_view(a_server_view(**fields))

    before = a_view(phase=Phase.TEARING_DOWN, next_pass_at=NOW)
    again = pass_ended_since(before)
    assert not again(before)
    assert not again(a_view(phase=Phase.TEARING_DOWN, audit_log=(entry,)))
    assert again(a_view(phase=Phase.TEARING_DOWN, audit_log=(entry,), next_pass_at=NOW + timedelta(hours=1)))
    given_up = a_view(phase=Phase.TEARDOWN_INCOMPLETE)
    assert not pass_ended_since(given_up)(given_up)
    assert pass_ended_since(given_up)(a_view(phase=Phase.TEARDOWN_INCOMPLETE, audit_log=(entry,)))
    under_way = a_view(phase=Phase.TEARING_DOWN)
    assert pass_ended_since(under_way)(a_view(phase=Phase.TEARING_DOWN, next_pass_at=NOW))


def test_one_failure_does_not_hold_up_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Ensures that all names are processed, all failures reported, and the first code is the command's."""
    seen = []

    def see_to(name: str) -> None:
        seen.append(name)
        if name != "b":
            raise CliError(Code.NOT_FOUND if name == "a" else Code.FAILED, f"{name} fails")

    with pytest.raises(CliError, match="a fails") as failed:
        run_in_turn(["a", "b", "c"], see_to, Output.TABLE)
    assert seen == ["a", "b", "c"]
    assert failed.value.code is Code.NOT_FOUND
    assert "c fails" in capsys.readouterr().err
