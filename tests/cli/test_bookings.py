"""The commands of bookings, as a person reads them: against an API that answers as the service does."""

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner

from starter.bookings.schemas import BookingCodes, BookingList, SeatCode, booking_view
from starter.cli.app import build
from starter.cli.commands import bookings as commands
from starter.cli.errors import CliError
from tests.support.booking_views import CODE, a_status, an_ended


class Api:
    """Records the calls, and answers each with the same."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer.model_dump(mode="json")
        self.calls: list[tuple[str, str, Any]] = []

    def __call__(self, *_: object) -> "Api":
        return self

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, _: object, error: object, __: object) -> None:
        if isinstance(error, CliError):
            raise SystemExit(error.code)

    def call(self, method: str, path: str, *, body: Any = None, key: str | None = None) -> Any:
        self.calls.append((method, path, body))
        return self.answer


def run(monkeypatch: pytest.MonkeyPatch, answer: Any, *words: str) -> tuple[int, str, Api]:
    api = Api(answer)
    monkeypatch.setattr(commands, "api_session", api)
    result = CliRunner().invoke(build(), words)
    return result.exit_code, result.output, api


CODES = BookingCodes(booking=booking_view(a_status()), codes=(SeatCode(seat="k8s-101-03", code=CODE),))
BOOK = ("book", "k8s-101", "-t", "small", "--seats", "3", "--from", "2030-01-31 09:00+01:00")
UNTIL = ("--until", "2030-01-31T17:00+01:00")


def test_the_codes_are_printed_with_their_seats(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, api = run(monkeypatch, CODES, *BOOK, *UNTIL)
    assert code == 0, out
    assert f"k8s-101-03  {CODE}" in out
    [(method, path, body)] = api.calls
    assert (method, path) == ("POST", "bookings")
    assert body["from"] == "2030-01-31T09:00:00+01:00"


@pytest.mark.parametrize("output", ["table", "json"])
def test_codes_in_a_file_are_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, output: str) -> None:
    file = tmp_path / "codes"
    code, out, _ = run(monkeypatch, CODES, *BOOK, *UNTIL, "--codes-file", str(file), "-o", output)
    assert code == 0, out
    assert CODE not in out
    assert file.read_text() == f"k8s-101-03 {CODE}\n"


@pytest.mark.parametrize(
    "words",
    [
        (*BOOK, "--until", "soon"),
        BOOK,
        ("bookings", "--end"),
        ("bookings", "--new-codes"),
        ("bookings", "k8s-101", "--end", "--new-codes"),
        ("bookings", "k8s-101", "--codes-file", "x"),
        ("bookings", "k8s-101", "--end"),
        ("seat",),
    ],
    ids=" ".join,
)
def test_bad_input_is_exit_code_2_and_calls_nothing(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    code, out, api = run(monkeypatch, CODES, *words)
    assert code == 2, out
    assert api.calls == []


def test_the_list_has_a_line_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = BookingList(bookings=(booking_view(a_status()), booking_view(an_ended())))
    code, out, _ = run(monkeypatch, rows, "bookings")
    assert code == 0, out
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["k8s-101", "small", "3", "2"],
        ["over", "small", "3", "2"],
    ]


@pytest.mark.parametrize(
    ("left", "says"), [((), "nothing left"), (("ns/x",), "not all of it is certified as gone")]
)
def test_one_that_is_over_is_printed_with_its_certificate(
    monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...], says: str
) -> None:
    code, out, _ = run(monkeypatch, booking_view(an_ended(left)), "bookings", "over")
    assert code == 0, out
    assert "over (ended, ended by pia@example.com): 2 of 3 seats taken." in out
    assert f": {says}\n" in out
    assert re.search(r"^over-01 +ann@example.com", out, re.M)
    assert ("ns/x" in out) == bool(left)


def test_ending_one_needs_a_yes_and_new_codes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, api = run(monkeypatch, booking_view(a_status()), "bookings", "k8s-101", "--end", "--yes")
    assert api.calls == [("DELETE", "bookings/k8s-101", None)]
    code, out, api = run(monkeypatch, CODES, "bookings", "k8s 101/../x", "--new-codes", "-o", "json")
    assert api.calls == [("POST", "bookings/k8s%20101%2F..%2Fx/codes", None)]
    assert code == 0
    assert json.loads(out)["codes"] == [{"seat": "k8s-101-03", "code": CODE}]
