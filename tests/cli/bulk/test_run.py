"""What a command does with many requests: each has its own result, and Ctrl-C says what was started."""

import io
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from contracts.environment.models import Outcome, Phase, Problem
from starter.cli.bulk import check, run, summary
from starter.cli.bulk.check import check_requests
from starter.cli.bulk.requests import BulkRequest
from starter.cli.bulk.run import BulkRun, ItemState
from starter.cli.bulk.summary import Summary, failure_of, print_interrupted, result_document
from starter.cli.client.api import Api
from starter.cli.errors import CliError, Code, Output
from starter.cli.views.base import parse
from starter.cli.views.environments import EnvironmentView as ClientView
from starter.environments.schemas import EnvironmentView

Refusal = Callable[[str], CliError | None]


def view_of(name: str, phase: Phase, **fields: Any) -> dict[str, Any]:
    view = EnvironmentView(
        name=name, life=f"life-{name}", owner="a@example.com", team="blue", template="small", phase=phase,
        requested_at=datetime.now(UTC), **fields,
    )  # fmt: skip
    return view.model_dump(mode="json")


class FakeApi:
    """Answers as the API does; each environment goes through its views, one at each look."""

    def __init__(self, lives: Mapping[str, list[dict[str, Any]]], refuse: Refusal = lambda _: None) -> None:
        self.lives = {name: list(views) for name, views in lives.items()}
        self.refuse = refuse
        self.requested: list[str] = []
        self.bodies: list[Any] = []

    def call(self, method: str, path: str, *, query: Any = None, body: Any = None, key: str = "") -> Any:
        if method == "POST" and path == "requests/check":
            self.bodies.append(body)
            return {"message": "All are valid."}
        if method == "POST":
            assert key
            if error := self.refuse(body["name"]):
                raise error
            self.requested.append(body["name"])
            first = self.lives[body["name"]][0]
            return {"kind": "created", "message": "", "life": f"life-{body['name']}", "environment": first}
        if path == "environments":
            assert query["mine"] is True
            rows = [views[0] for name in self.requested if not (views := self.lives[name])[0]["ended"]]
            for name in self.requested:
                if len(self.lives[name]) > 1:
                    self.lives[name].pop(0)
            return {"environments": rows, "next": None}
        return self.lives[path.removeprefix("environments/")][0]

    def view(self, content: Any) -> ClientView:
        return parse(content, ClientView)


MAKING, READY = Phase.PROVISIONING, Phase.READY
PROBLEM = Problem(step="vcluster", system="host", cause="no image", remedy="push it", type="rejected")


def failed(name: str) -> list[dict[str, Any]]:
    return [
        view_of(name, MAKING),
        view_of(name, Phase.TEARING_DOWN),
        view_of(name, Phase.GONE, ended=True, outcome=Outcome.FAILED, problem=PROBLEM),
    ]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "POLL_SECONDS", 0)
    monkeypatch.setattr(run, "MISSING_SECONDS", 0)


def start(api: FakeApi, names: list[str], summary: Summary | None = None) -> BulkRun:
    requests = [BulkRequest({"name": name, "template": "small"}) for name in names]
    return BulkRun(cast(Api, api), requests, summary.on_change if summary else lambda _: None)


def test_all_are_ready() -> None:
    names = [f"lab-{number}" for number in range(1, 31)]
    api = FakeApi({name: [view_of(name, MAKING), view_of(name, READY)] for name in names})
    log = io.StringIO()
    bulk = start(api, names, Summary(log, Output.TABLE))
    bulk.send()
    bulk.follow()
    assert sorted(api.requested) == sorted(names)
    assert {item.state for item in bulk.items} == {ItemState.READY}
    assert failure_of(bulk.items) is None
    assert result_document(bulk.items)["ready"] == 30
    assert summary.count_line(bulk.items) == "30 environments: 30 ready"
    assert log.getvalue().count(" ready\n") == 30


def test_some_fail() -> None:
    """Ensures that a refusal and a failure have their sentences, and that the others become ready."""

    def refuse(name: str) -> CliError | None:
        return CliError(Code.FAILED, "no host has room") if name == "c" else None

    api = FakeApi({"a": [view_of("a", READY)], "b": failed("b"), "c": []}, refuse)
    bulk = start(api, ["a", "b", "c"])
    bulk.send()
    bulk.follow()
    error = failure_of(bulk.items)
    assert error is not None
    assert str(error) == "2 of 3 environments could not be made"
    assert error.lines[0] == "b: b could not be created. vcluster: no image"
    assert "c: no host has room" in error.lines
    assert "push it" in error.next_steps
    content = json.loads(json.dumps(result_document(bulk.items)))
    assert [one["state"] for one in content["environments"]] == ["ready", "failed", "failed"]
    assert content["environments"][2]["problem"]["detail"] == "no host has room"
    assert content["environments"][1]["environment"]["outcome"] == "failed"


def test_an_api_that_is_away() -> None:
    """Ensures that the rest is not sent, and named."""

    def refuse(name: str) -> CliError | None:
        return None if name == "n0" else CliError(Code.UNREACHABLE, "cannot reach the API")

    names = [f"n{number}" for number in range(100)]
    api = FakeApi({name: [view_of(name, READY)] for name in names}, refuse)
    bulk = start(api, names)
    bulk.send()
    bulk.follow()
    unsent = [item for item in bulk.items if item.state is ItemState.WAITING]
    assert len(unsent) >= 100 - 1 - run.SENT_AT_ONCE
    error = failure_of(bulk.items)
    assert error is not None
    assert error.code is Code.UNREACHABLE
    assert error.lines[-1].startswith("not requested: ")


def test_ctrl_c_while_requests_are_sent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ensures that it is shown what was started, what may have been, and what was not."""
    monkeypatch.setattr(run, "SENT_AT_ONCE", 1)
    reached, go_on = threading.Event(), threading.Event()

    def refuse(name: str) -> CliError | None:
        if name == "b":
            reached.set()
            go_on.wait()
        return None

    api = FakeApi({name: [view_of(name, READY)] for name in "abc"}, refuse)
    bulk = start(api, ["a", "b", "c"])
    joined = threading.Thread.join

    def interrupted(_thread: threading.Thread, _timeout: float | None = None) -> None:
        reached.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bulk.send()
    monkeypatch.setattr(threading.Thread, "join", joined)
    print_interrupted(bulk.items)
    go_on.set()
    shown = capsys.readouterr().err
    assert "1 of 3 were requested and continue: a." in shown
    assert "may have been requested as well: b." in shown
    assert "Not requested: c." in shown
    assert "moorage delete a b" in shown


def test_another_life_of_the_name() -> None:
    other = view_of("a", READY) | {"life": "other"}
    bulk = start(FakeApi({"a": [other]}), ["a"])
    bulk.send()
    bulk.follow()
    [item] = bulk.items
    assert "another environment has its name" in str(item.error)


def test_checks_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that no check is larger than the API takes, and that each request is in one."""
    monkeypatch.setattr(check, "MAX_BYTES", 2000)
    api = FakeApi({})
    requests = [BulkRequest({"name": f"n{number}", "template": "small"}) for number in range(250)]
    assert check_requests(cast(Api, api), requests) == "All 250 requests are valid."
    assert [one["name"] for body in api.bodies for one in body["environments"]] == [r.name for r in requests]
    assert max(len(json.dumps(body)) for body in api.bodies) < 2500


def test_problems_of_a_count_are_shown_once() -> None:
    """Ensures that twenty of the same request do not repeat their problem twenty times."""

    class Refusing:
        def call(self, _method: str, _path: str, *, body: Any) -> Any:
            errors = [
                {"field": f"environments.{number}.ttl", "message": "is too long"}
                for number in range(len(body["environments"]))
            ]
            raise CliError(Code.BAD_INPUT, "not valid", problem={"errors": errors})

    requests = BulkRequest({"name": "lab", "template": "small"}).times(20)
    with pytest.raises(CliError) as refused:
        check_requests(cast(Api, Refusing()), requests)
    assert refused.value.lines == ("ttl: is too long",)
