"""`moorage upgrade --all`: its options, what it prints while it waits, and its exit codes."""

from collections.abc import Sequence
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from starter.cli import rollout
from starter.cli.app import build
from starter.cli.client.api import Api
from starter.cli.errors import CliError, Code, Output
from starter.cli.rollout import roll_out


def view(*outcomes: str, over: bool = False, **fields: Any) -> dict[str, Any]:
    """An answer of the API, in which each outcome is that of an environment."""
    lines = [
        {"name": f"env-{number}", "life": str(number), "outcome": outcome, "reason": "why" if number else ""}
        for number, outcome in enumerate(outcomes)
    ]
    result = {"template": "small", "version": 2, "actor": "ops@example.com", "over": over, "lines": lines}
    return {"over": over, "message": "How it stands.", "result": result | fields}


class Answers:
    """An API that gives these answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: dict[str, Any] | BaseException) -> None:
        self._answers = list(answers)
        self.calls: list[tuple[str, str, Any]] = []

    def call(self, method: str, path: str, *, body: Any = None) -> dict[str, Any]:
        self.calls.append((method, path, body))
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "POLL_SECONDS", 0)


def run(answers: Answers, *, body: Any = ..., no_wait: bool = False) -> None:
    given = {"template": "small"} if body is ... else body
    roll_out(cast("Api", answers), "small", given, Output.TABLE, no_wait=no_wait)


def test_each_change_is_printed_once_and_all_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    unreachable = CliError(Code.UNREACHABLE, "the API does not answer")
    answers = Answers(
        view("upgrading", "waiting"), view("upgraded", "upgrading"), unreachable,
        {"over": False, "message": "No worker is answering", "result": None},
        view("upgraded", "upgraded", over=True),
    )  # fmt: skip
    run(answers)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "How it stands.", "  env-0: upgrading", "  env-0: upgraded", "  env-1: upgrading: why",
        "  env-1: upgraded: why",
    ]  # fmt: skip
    assert [line.split() for line in printed.out.splitlines()] == [
        ["env-0", "upgraded"], ["env-1", "upgraded:", "why"], ["How", "it", "stands."],
    ]  # fmt: skip
    assert answers.calls[0] == ("POST", "rollouts", {"template": "small"})
    assert answers.calls[1:] == [("GET", "rollouts/small", None)] * 4


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (
            view("rolled back", "waiting", over=True, stopped="1 could not be upgraded"),
            "1 environment was not reached",
        ),
        (view("failed", "upgraded", over=True), "1 environment could not be upgraded"),
        (view("upgrading", over=True) | {"result": None}, "has not come to its end"),
        (view("upgrading") | {"over": True}, "has not come to its end"),
    ],
    ids=["stopped", "failed", "without a result", "closed in Temporal"],
)
def test_it_fails_when_it_has_not_upgraded_what_it_could(last: dict[str, Any], words: str) -> None:
    with pytest.raises(CliError, match=words) as failed:
        run(Answers(last))
    assert failed.value.code == Code.FAILED


@pytest.mark.parametrize(
    "answer",
    [
        view("skipped", "refused", "gone", over=True),
        view("waiting", "skipped", over=True, dry_run=True),
    ],
    ids=["nothing failed", "dry run"],
)
def test_what_is_left_alone_is_no_failure(answer: dict[str, Any]) -> None:
    run(Answers(answer))


def test_a_stop_is_sent_and_not_waited_for_with_no_wait() -> None:
    answers = Answers(view("upgrading", "waiting"))
    run(answers, body=None, no_wait=True)
    assert answers.calls == [("POST", "rollouts/small/stop", None)]


def test_when_the_api_is_gone_it_says_that_the_upgrade_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "SILENCE_SECONDS", -1)
    gone = CliError(Code.UNREACHABLE, "cannot reach the API", next_steps=["check that it runs"])
    with pytest.raises(CliError) as failed:
        run(Answers(view("upgrading"), gone))
    assert failed.value.code == Code.UNREACHABLE
    again = "the upgrade continues; watch it again: moorage upgrade --template small --all"
    assert failed.value.next_steps == ("check that it runs", again)


def test_an_interrupt_ends_only_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.exceptions.Exit) as ended:
        run(Answers(view("upgrading"), KeyboardInterrupt()))
    assert ended.value.exit_code == Code.INTERRUPTED
    assert "moorage upgrade --template small --all --stop" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("--all",), ("demo", "--all", "--template", "small"), ("demo", "--template", "small"),
        ("demo", "--stop"), ("--all", "--template", "small", "--stop", "--dry-run"),
        ("--all", "--template", "small", "--set", "a=b"), ("--all", "--template", "small", "--wave", "0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_options_that_do_not_belong_together(arguments: Sequence[str]) -> None:
    refused = CliRunner().invoke(build(), ["upgrade", *arguments])
    assert refused.exit_code == 2, refused.output
