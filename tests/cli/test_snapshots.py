"""The commands of snapshots, as a person reads them: against an API that answers as the service does."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from contracts.phases import Outcome, Phase, StepName, StepState
from starter.cli import completion
from starter.cli.app import build
from starter.cli.command_context import report_errors
from starter.cli.commands import snapshots as commands
from starter.cli.errors import CliError, Code, Output
from starter.cli.kubeconfig.certificate_cache import CertificateCache, cache_folder
from starter.cli.kubeconfig.certificates import ClientCertificate
from starter.cli.output.formatting import print_environment
from starter.cli.views.base import to_json
from starter.cli.views.environments import (
    AuditLogEntry,
    EnvironmentView,
    ProblemView,
    Restore,
    Snapshot,
    StepView,
)
from tests.cli.test_messages import Terminal

NOW = datetime.now(UTC)
BOB = "bob@example.com"


def a_snapshot(number: int, *, minutes: float = 5, before: str = "", **changes: Any) -> Snapshot:
    taken = NOW - timedelta(minutes=minutes)
    return Snapshot(
        **{"number": number, "actor": BOB, "asked_at": taken, "taken_at": taken, "before": before, **changes}
    )


PROBLEM = ProblemView(
    step="restore", system="host cluster", cause="Its pod ended with code 1.", remedy="See its log.", type="X"
)
BEFORE = EnvironmentView(
    name="demo", life="l", owner=BOB, team="blue", template="small", phase=Phase.READY, requested_at=NOW,
    steps=(StepView(step=StepName.GROUP, system="control plane", state=StepState.DONE),),
    audit_log=(AuditLogEntry(at=NOW, actor=BOB, action="asked for it"),),
    snapshots=(a_snapshot(1, minutes=65), a_snapshot(2, before="the change to small version 2")),
)  # fmt: skip
RESTORE = Restore(number=2, actor=BOB, started_at=NOW)


def document(view: EnvironmentView) -> Any:
    """Return the JSON document of the view, as a program reads it."""
    return json.loads(json.dumps(to_json(view)))


def changed(view: EnvironmentView = BEFORE, **fields: Any) -> EnvironmentView:
    return msgspec.structs.replace(view, **fields)


ASKED = (*BEFORE.audit_log, AuditLogEntry(at=NOW, actor=BOB, action="asked to restore snapshot 2"))
RESTORING = changed(restore=RESTORE, audit_log=ASKED)
RESTORED = changed(audit_log=(*ASKED, AuditLogEntry(at=NOW, actor="moorage", action="restored snapshot 2")))
#: As the API shows it while no worker answers.
UNKNOWN = changed(steps=(), audit_log=(), snapshots=())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CertificateCache:
    """The credentials that the plugin has kept: one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = CertificateCache(cache_folder())
    kept.keep(ClientCertificate("c", "k", NOW + timedelta(minutes=30)), "demo")
    return kept


class Api:
    """It has these states after the request, one after the other; `refused` is what it says to that."""

    def __init__(self, *states: EnvironmentView, before: EnvironmentView = BEFORE, refused: str = "") -> None:
        self._states, self._before, self._refused = states, before, refused
        self.calls: list[tuple[str, str, Any, Any]] = []
        self.shown = 0

    @contextmanager
    def session(self, _: click.Context, output: Output) -> Iterator["Api"]:
        with report_errors(output):
            yield self

    def environment(self, _: str) -> EnvironmentView:
        return self._before

    def call(self, method: str, path: str, *, query: Any, body: Any, key: str) -> Any:
        assert len(key) >= 16
        self.calls.append((method, path, query, body))
        if self._refused:
            raise CliError(Code.FAILED, self._refused)
        return {"kind": "accepted", "message": "Snapshot 2 of demo is being restored.", "life": "l"}

    def follow(self, _: str) -> Iterator[EnvironmentView]:
        for state in self._states:
            self.shown += 1
            yield state


def run(monkeypatch: pytest.MonkeyPatch, api: Api, *words: str) -> Result:
    monkeypatch.setattr(commands, "api_session", api.session)
    return CliRunner().invoke(build(), ["restore", "demo", *words])


@contextmanager
def at_terminal(monkeypatch: pytest.MonkeyPatch, text: str) -> Iterator[None]:
    """Let the question be asked at a terminal at which this is typed."""
    with monkeypatch.context() as patched:
        patched.setattr("starter.cli.arguments.prompts.sys", _Streams(text))
        yield


class _Streams:
    """What a prompt needs of `sys`, at a terminal."""

    def __init__(self, text: str) -> None:
        self.stdin = Terminal(text)
        self.stderr = sys.stderr


def body(number: int | None) -> list[tuple[str, str, Any, Any]]:
    return [("POST", "environments/demo/restore", {"life": "l"}, {"snapshot": number})]


def test_a_restore_without_a_terminal_needs_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that the question says which snapshot, how old it is, and what is lost; nothing is called."""
    api = Api(RESTORING, RESTORED)
    done = run(monkeypatch, api)
    assert (done.exit_code, done.stdout, api.calls) == (2, "", [])
    assert re.search(
        "Restore the objects of snapshot 2 of demo of bob@example.com, taken .* ago before the change to "
        r"small version 2, and lose all that was made since, with its volumes\?",
        done.stderr,
    )
    assert "confirm with --yes" in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 2)])
def test_a_restore_is_asked_about_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    api = Api(RESTORING, RESTORED)
    with at_terminal(monkeypatch, answer):
        done = run(monkeypatch, api)
    assert done.exit_code == code, done.output
    assert api.calls == (body(2) if code == 0 else [])
    if code:
        assert "demo was restored" not in done.output


@pytest.mark.parametrize(
    ("words", "snapshots", "number"),
    [
        ((), BEFORE.snapshots, 2),
        (("--snapshot", "1"), BEFORE.snapshots, 1),
        # A later one that was not taken is not the last one.
        ((), (*BEFORE.snapshots, a_snapshot(3, taken_at=None, problem=PROBLEM)), 2),
        ((), (*BEFORE.snapshots, a_snapshot(3, taken_at=None)), 2),
    ],
    ids=["last", "by number", "failed since", "in progress"],
)
def test_the_snapshot_that_was_confirmed_is_restored(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], snapshots: tuple[Snapshot, ...], number: int
) -> None:
    """Ensures that a snapshot that another person takes meanwhile is not restored in its place."""
    api = Api(RESTORING, RESTORED, before=changed(snapshots=snapshots))
    done = run(monkeypatch, api, "--yes", *words)
    assert done.exit_code == 0, done.output
    assert api.calls == body(number)
    assert done.stdout == f"Snapshot {number} of demo was restored, without volumes.\n"


@pytest.mark.parametrize(
    ("words", "snapshots", "number", "refused"),
    [
        ((), (), None, "demo has no snapshot that could be restored: take one first."),
        (("--snapshot", "7"), BEFORE.snapshots, 7, "demo has no snapshot 7: it has 1, 2."),
        (("--yes",), BEFORE.snapshots, 2, "demo is asleep: wake it first."),
    ],
    ids=["none", "unknown", "asleep"],
)
def test_what_is_refused_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    snapshots: tuple[Snapshot, ...],
    number: int | None,
    refused: str,
) -> None:
    """Ensures that no user is asked about a snapshot that is not there: the API says what there is."""
    api = Api(before=changed(snapshots=snapshots), refused=refused)
    done = run(monkeypatch, api, *words)
    assert (done.exit_code, done.stdout, api.calls) == (1, "", body(number))
    assert done.stderr.splitlines() == [f"moorage: {refused}"]


def test_a_number_that_is_none_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("0", "-1", "last", "1.5"):
        api = Api()
        done = run(monkeypatch, api, "--yes", "--snapshot", number)
        assert (done.exit_code, api.calls) == (2, []), number


def test_it_waits_for_the_end_of_this_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that neither the state before it nor one without an answer of a worker counts as its end."""
    states = (BEFORE, UNKNOWN, RESTORING, changed(RESTORING, steps=(), restore=None), RESTORED)
    api = Api(*states)
    done = run(monkeypatch, api, "--yes")
    assert done.exit_code == 0, done.output
    assert api.shown == len(states)
    assert "snapshot 2 is being restored, by bob@example.com; without volumes" in done.stderr


def test_a_restore_that_fails_says_why_and_that_it_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    back = changed(
        RESTORING, restore=msgspec.structs.replace(RESTORE, problem=PROBLEM), restore_problem=PROBLEM
    )
    as_before = changed(RESTORED, restore_problem=PROBLEM)
    done = run(monkeypatch, Api(RESTORING, back, back, as_before), "--yes")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("going back to the state before: Its pod ended with code 1.") == 1
    sentence = "The snapshot could not be restored, and demo is as before. Its pod ended with code 1."
    assert f"moorage: {sentence}" in done.stderr
    assert "next: See its log." in done.stderr
    as_json = run(monkeypatch, Api(RESTORING, back, as_before), "--yes", "-o", "json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (1, document(as_before))
    assert json.loads(as_json.stderr)["detail"] == sentence


def test_a_restore_that_a_teardown_stops_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    ending = changed(RESTORED, phase=Phase.TEARING_DOWN, outcome=Outcome.DELETED)
    done = run(monkeypatch, Api(RESTORING, ending), "--yes")
    assert done.exit_code == 1
    assert "demo is being torn down: the restore was stopped" in done.stderr


def test_the_next_command_of_kubectl_asks_for_rights_again(
    monkeypatch: pytest.MonkeyPatch, cache: CertificateCache
) -> None:
    """Ensures that a kept credential is not used any more: its rights may be newer than the snapshot."""
    assert run(monkeypatch, Api(), "--no-wait").exit_code == 2
    assert cache.find("demo")
    assert run(monkeypatch, Api(RESTORING, RESTORED), "--yes").exit_code == 0
    assert cache.find("demo") is None


@pytest.mark.parametrize("output", ["table", "json"])
def test_no_wait_answers_at_once(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    api = Api()
    done = run(monkeypatch, api, "--yes", "--no-wait", "-o", output)
    assert (done.exit_code, done.stderr, api.shown) == (0, "", 0)
    said = json.loads(done.stdout)["message"] if output == "json" else done.stdout.strip()
    assert said == "Snapshot 2 of demo is being restored."


def test_json_is_the_last_state_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(monkeypatch, Api(RESTORING, RESTORED), "--yes", "-o", "json")
    assert (done.exit_code, done.stderr, json.loads(done.stdout)) == (0, "", document(RESTORED))


OBSTACLE = ProblemView(step="restore", system="host cluster", cause="No node.", remedy="", type="X")


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({}, ""),
        ({"restore": RESTORE}, "snapshot 2 is being restored, by bob@example.com; without volumes"),
        (
            {"restore": msgspec.structs.replace(RESTORE, problem=PROBLEM), "restore_problem": PROBLEM},
            "snapshot 2 failed, going back to the state before: Its pod ended with code 1.",
        ),
        (
            {"restore": msgspec.structs.replace(RESTORE, problem=PROBLEM, obstacle=OBSTACLE)},
            "snapshot 2 failed, going back to the state before: Its pod ended with code 1; not yet: No node.",
        ),
        (
            {"restore_problem": PROBLEM},
            "the last one failed, and it has the state of before: Its pod ended with code 1.",
        ),
        ({"restore_problem": PROBLEM, "phase": Phase.GONE, "outcome": Outcome.DELETED, "ended": True}, ""),
    ],
    ids=["none", "goes on", "goes back", "does not go back yet", "failed", "failed and gone"],
)
def test_show_says_how_a_restore_stands(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], row: str
) -> None:
    print_environment(changed(**fields))
    rows = [line.removeprefix("restore:").strip() for line in _lines(capsys) if line.startswith("restore:")]
    assert rows == ([row] if row else [])


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("name", "incomplete", "offered"),
    [("demo", "", ["1", "2"]), ("demo", "2", ["2"]), ("../x", "", []), (None, "", [])],
)
def test_the_numbers_of_snapshots_are_completed(
    monkeypatch: pytest.MonkeyPatch, name: str | None, incomplete: str, offered: list[str]
) -> None:
    """Ensures that only those that were taken are offered, and none without the name of an environment."""
    failed = a_snapshot(3, taken_at=None, problem=PROBLEM)
    answer = document(changed(snapshots=(*BEFORE.snapshots, failed)))
    asked: list[str] = []

    def answered(_: click.Context, path: str, __: object) -> Any:
        asked.append(path)
        return answer

    monkeypatch.setattr(completion, "_answer", answered)
    ctx = click.Context(commands.restore)
    ctx.args = [name] if name else []
    [option] = [each for each in commands.restore.params if each.name == "number"]
    assert completion.complete_snapshot(ctx, option, incomplete) == offered
    assert asked == (["environments/demo"] if name == "demo" else [])
