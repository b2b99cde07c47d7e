"""Ensures that nothing which others wrote moves a cursor or forges a line in what the CLI prints."""

import io
import json
from datetime import UTC, datetime

import pytest

from contracts.phases import Phase, StepName, StepState
from starter.cli.errors import CliError, Code, Output
from starter.cli.output.formatting import (
    print_environment,
    print_history,
    print_json,
    print_note,
    print_table,
)
from starter.cli.output.live_progress import ProgressDocuments, ProgressLines, ProgressTable
from starter.cli.views.environments import (
    AuditLogEntry,
    EnvironmentView,
    HistoryView,
    LifeView,
    Progress,
    StepView,
)

EVIL = "good\x1b[1A\x1b[2K\r\nmallory@example.com asked to delete\u202e"
SHOWN = r"good\x1b[1A\x1b[2K\r\nmallory@example.com asked to delete\u202e"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
VIEW = EnvironmentView(
    name="demo", life="1", owner=EVIL, team=EVIL, template=EVIL, host=EVIL, collaborators=(EVIL,),
    phase=Phase.READY, requested_at=NOW, remark=EVIL,
    steps=(
        StepView(step=StepName.NAMESPACE, system=EVIL, state=StepState.DONE, started_at=NOW, ended_at=NOW,
                 note=EVIL),
        StepView(step=StepName.VCLUSTER, system=EVIL, state=StepState.RUNNING, started_at=NOW,
                 progress=Progress(waiting_for=EVIL, last_failure=EVIL)),
    ),
)  # fmt: skip


def lines_are_ours(printed: str) -> None:
    assert SHOWN in printed
    assert not set(printed) & {"\x1b", "\r", "\u202e"}
    assert not [line for line in printed.splitlines() if line.startswith("mallory")]


def test_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    print_environment(VIEW)
    lines_are_ours(capsys.readouterr().out)


def test_a_history(capsys: pytest.CaptureFixture[str]) -> None:
    entry = AuditLogEntry(at=NOW, actor="bob@example.com", action="extended", result=EVIL)
    life = LifeView(
        name="demo",
        life="1",
        owner="o",
        team="t",
        template="t",
        host="h",
        phase=Phase.READY,
        requested_at=NOW,
        audit_log=(entry,),
    )
    print_history(HistoryView(name="demo", lives=(life,)))
    printed = capsys.readouterr().out
    lines_are_ours(printed)
    assert len(printed.splitlines()) == 2


def test_tables_lines_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name"], [[EVIL], ["other"]], empty="")
    lines_are_ours(capsys.readouterr().out)
    print_note(EVIL)
    lines_are_ours(capsys.readouterr().err)
    CliError(Code.FAILED, EVIL, lines=[EVIL], next_steps=[EVIL]).show(Output.TABLE)
    lines_are_ours(capsys.readouterr().err)


def test_progress_in_a_log_and_on_a_terminal() -> None:
    log = io.StringIO()
    ProgressLines(log).update(VIEW)
    lines_are_ours(log.getvalue())
    table = ProgressTable()
    table.update(VIEW)
    lines_are_ours("\n".join("".join(text for text, _ in line.pieces) for line in table.lines()))


def test_json_means_the_same_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"note": EVIL + "\x9b\x7f"})
    ProgressDocuments().update(VIEW)
    CliError(Code.FAILED, EVIL).show(Output.JSON)
    out, err = capsys.readouterr()
    assert not set(out + err) & {"\x1b", "\r", "\u202e", "\x9b", "\x7f"}
    first, _, second = out.partition("\n}\n")
    assert json.loads(first + "}") == {"note": EVIL + "\x9b\x7f"}
    assert json.loads(second)["remark"] == EVIL
    assert json.loads(err)["detail"] == EVIL
