"""What the plugin does for an environment that sleeps: it notices, wakes, waits, or says why it cannot."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts.phases import Phase
from starter.cli.client.api import Api
from starter.cli.errors import CliError, Code
from starter.cli.kubeconfig.awake import MAX_WAKES, is_listening, when_awake

ASLEEP = CliError(Code.FAILED, "demo is asleep", problem={"type": "urn:moorage:problem:asleep"})
PROBLEM = SimpleNamespace(cause="It does not start.", remedy="Ask the platform team.")


class FakeApi:
    """It is followed through these phases after it was asked to wake."""

    def __init__(self, *views: SimpleNamespace) -> None:
        self.views = views
        self.called: list[tuple[str, str, Any]] = []

    def call(self, method: str, path: str, *, query: Any = None) -> Any:
        self.called.append((method, path, query))
        return {}

    def follow(self, name: str) -> Iterator[SimpleNamespace]:
        yield from self.views


def view(phase: Phase, problem: SimpleNamespace | None = None) -> SimpleNamespace:
    return SimpleNamespace(phase=phase, sleep=SimpleNamespace(problem=problem))


def answers(*results: Any) -> Callable[[], Any]:
    left = list(results)

    def request() -> Any:
        result = left.pop(0)
        if isinstance(result, CliError):
            raise result
        return result

    return request


def awake(api: FakeApi, request: Callable[[], Any]) -> Any:
    return when_awake(lambda: nullcontext(cast(Api, api)), "demo", "life", request)


def test_one_that_is_awake_is_not_woken() -> None:
    api = FakeApi()
    assert awake(api, answers("certificate")) == "certificate"
    assert api.called == []


def test_one_that_sleeps_is_woken_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(view(Phase.ASLEEP), view(Phase.WAKING), view(Phase.READY))
    assert awake(api, answers(ASLEEP, "certificate")) == "certificate"
    assert api.called == [("POST", "environments/demo/wake", {"life": "life"})]
    assert capsys.readouterr() == ("", "waking demo …\n")


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([view(Phase.WAKING), view(Phase.ASLEEP, PROBLEM)], "demo could not be woken. It does not start."),
        ([view(Phase.WAKING), view(Phase.FALLING_ASLEEP, PROBLEM)], "demo could not be woken."),
        ([view(Phase.WAKING), view(Phase.TEARING_DOWN)], "demo is not awake: see moorage show demo"),
        ([], "demo is not awake: see moorage show demo"),
    ],
)
def test_one_that_does_not_wake_is_a_sentence(views: list[SimpleNamespace], message: str) -> None:
    with pytest.raises(CliError) as error:
        awake(FakeApi(*views), answers(ASLEEP))
    assert str(error.value).startswith(message)


def test_a_former_problem_is_not_that_of_this_wake() -> None:
    api = FakeApi(view(Phase.WAKING, PROBLEM), view(Phase.READY))
    assert awake(api, answers(ASLEEP, "certificate")) == "certificate"


def test_one_that_others_put_to_sleep_again_is_not_woken_for_ever() -> None:
    api = FakeApi(view(Phase.WAKING), view(Phase.ASLEEP))
    with pytest.raises(CliError, match="demo is asleep"):
        awake(api, answers(*[ASLEEP] * (MAX_WAKES + 1)))
    assert len(api.called) == MAX_WAKES


def test_another_error_is_not_changed() -> None:
    other = CliError(Code.FAILED, "no", problem={"type": "urn:moorage:problem:not-usable"})
    with pytest.raises(CliError) as error:
        awake(FakeApi(), answers(other))
    assert error.value is other


def info(server: str, **cluster: str) -> dict[str, str]:
    return {"KUBERNETES_EXEC_INFO": json.dumps({"spec": {"cluster": {"server": server, **cluster}}})}


def test_whether_the_cluster_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(info(f"https://127.0.0.1:{port}/api"))
    assert not is_listening(info(f"https://127.0.0.1:{port}/api"))
    assert not is_listening(info(f"http://localhost:{port}"))
    # Where it cannot be asked directly, what was kept is used.
    assert is_listening(info(f"https://127.0.0.1:{port}", **{"proxy-url": "socks5://127.0.0.1"}))
    assert is_listening(info(f"https://127.0.0.1:{port}") | {"HTTPS_PROXY": "http://127.0.0.1"})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"spec": {}}', '{"spec": {"cluster": {"server": 1}}}', "{}"]
)
def test_without_a_cluster_nothing_is_asked(text: str) -> None:
    assert is_listening({"KUBERNETES_EXEC_INFO": text})
    assert is_listening(info("ftp://example.com"))
    assert is_listening({})
