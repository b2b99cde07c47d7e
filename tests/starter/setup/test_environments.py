"""What doctor says of environments that are ready, as their hosts show them."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from clients.host.models import Health, Namespace
from clients.host.protocol import Host
from contracts.environment.models import Phase
from starter.setup import environments
from starter.setup.areas import Area
from starter.setup.check import Found, Kind, SetupCheck, well
from starter.setup.environments import MAX_NAMED, Environments
from starter.setup.temporal import Temporal
from tests.starter.test_chart_check import environment
from worker.codec import KeyMissing


class Showing:
    """A host on which the environments of these names are unwell."""

    def __init__(self, *unwell: str) -> None:
        self.unwell = {f"mrg-{name}" for name in unwell}

    async def get_namespace(self, name: str) -> Namespace | None:
        mark = environment().mark.model_copy(update={"name": name.removeprefix("mrg-")})
        return Namespace(name, "u", labels=mark.labels)

    async def health(self, name: str, *_: str) -> Health:
        return Health("no pod of its StatefulSet is ready" if name in self.unwell else "")


#: The name of an environment whose key is missing.
LOCKED = "locked"


async def found(monkeypatch: pytest.MonkeyPatch, host: Showing, *names: str, more: bool = False) -> Found:
    """What the part finds when these are ready."""

    async def ready(_: Any) -> tuple[list[str], bool]:
        return list(names), more

    class Reading:
        def __init__(self, _: Any) -> None:
            pass

        async def read(self, name: str) -> Any:
            if name == LOCKED:
                raise KeyMissing("it needs a key")
            one = environment()
            one = one.model_copy(update={"mark": one.mark.model_copy(update={"name": name})})
            view = SimpleNamespace(phase=Phase.TEARING_DOWN if name == "going" else Phase.READY)
            return SimpleNamespace(status=SimpleNamespace(environment=one), view=view)

    monkeypatch.setattr(environments, "_ready", ready)
    monkeypatch.setattr(environments, "EnvironmentReader", Reading)

    async def fine() -> Found:
        return well("fine")

    async def client() -> None:
        return None

    temporal = cast(Temporal, SimpleNamespace(client=client))
    needed = SetupCheck(Area.TEMPORAL, "Temporal", "search attributes", "here", fine)
    [part] = Environments(temporal, cast(dict[str, Host], {"main": host})).parts(needed)
    assert part.needs == (needed,)
    return await part.check()


async def test_unwell_ones_are_named_and_are_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that each is named with what is wrong, unless its teardown has started meanwhile."""
    there = await found(monkeypatch, Showing("b", "going"), "a", "b", "going")
    assert there.kind is Kind.WELL
    assert there.detail == "2 of 3 that are ready are well; warning: b: no pod of its StatefulSet is ready"


async def test_many_are_not_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that a host that is away does not fill a page."""
    names = [f"e{number}" for number in range(30)]
    there = await found(monkeypatch, Showing(*names), *names, more=True)
    assert there.detail.count("no pod of its StatefulSet") == MAX_NAMED
    assert there.detail.endswith("; and 25 more")
    assert "(the first 200 were looked at)" in there.detail


async def test_none_and_well_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that it is said in few words when nothing is wrong."""
    assert (await found(monkeypatch, Showing())).detail == "none is ready"
    assert (await found(monkeypatch, Showing(), "a")).detail == "1 of 1 that are ready are well"


async def test_one_whose_key_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ensures that doctor still says how the others are, and goes on to the part that names the key."""
    there = await found(monkeypatch, Showing(), "a", LOCKED)
    assert there.detail == (
        "1 of 2 that are ready are well; warning: locked: what Temporal keeps of it cannot be decrypted"
    )
