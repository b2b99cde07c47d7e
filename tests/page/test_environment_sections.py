"""The sections that live updates send: shared by those who may do the same, and without anyone's secrets."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.environment.models import Drift, Phase, Problem, Restore, Snapshot, StepName
from contracts.templates.sleep import SleepReason
from starter.auth.policy import Principal, Role
from starter.environments.schemas import ChangeView, EnvironmentView, SleepView
from starter.page import environment_sections, rendering
from starter.page.environment_parts import parts_of, version_of
from starter.page.environment_sections import SharedSections, choices_of
from starter.page.temporal_links import TemporalLinks
from starter.statistics.usual_times import UsualTimes
from tests.page.samples import a_view

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
BASE = "https://moorage.example.com"
LINKS = TemporalLinks("https://temporal.example.com", "moorage")


def view(**fields: Any) -> EnvironmentView:
    return a_view(**{"collaborators": ("dave@example.com",), **fields})


def principal(name: str, *teams: str, role: Role = Role.DEVELOPER) -> Principal:
    return Principal(person=name, email=f"{name}@example.com", teams=teams, role=role)


def sections(message: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(message)["sections"]
    return found


def test_sections_offer_what_the_person_may_do() -> None:
    shared, one = SharedSections(LINKS), view()
    owner = sections(shared.message(one, principal("bob", "blue"), BASE))
    mate = sections(shared.message(one, principal("carol", "blue"), BASE))
    guest = sections(shared.message(one, principal("dave", "green"), BASE))
    assert f"moorage login {BASE}" in owner["using"]
    assert "Delete demo" in owner["side"]
    assert "moorage login" not in mate["using"]
    assert "Delete demo" in mate["side"]
    assert "moorage login" in guest["using"]
    assert "Delete demo" not in guest["side"]


@pytest.mark.parametrize(
    ("phase", "owner", "guest"),
    [
        (Phase.READY, "Put demo to sleep", ""),
        (Phase.FALLING_ASLEEP, "Wake demo", "Wake demo"),
        (Phase.ASLEEP, "Wake demo", "Wake demo"),
        (Phase.WAKING, "", ""),
        (Phase.USABLE, "", ""),
        (Phase.TEARING_DOWN, "", ""),
    ],
)
def test_sleep_is_offered_when_it_is_awake_and_waking_when_it_sleeps(
    phase: Phase, owner: str, guest: str
) -> None:
    """Ensures that collaborators wake what they may not put to sleep, and that both keep their kubeconfig."""
    one = view(phase=phase)
    for person, offered in ((principal("bob", "blue"), owner), (principal("dave", "green"), guest)):
        found = sections(SharedSections(LINKS).message(one, person, BASE))
        buttons = [words for words in ("Put demo to sleep", "Wake demo") if words in found["side"]]
        assert buttons == ([offered] if offered else [])
        is_made = phase not in (Phase.TEARING_DOWN,)
        assert ("/environments/demo/kubeconfig" in found["using"]) is is_made


def test_the_state_says_who_sleeps_since_when_and_what_it_waits_for() -> None:
    asleep = SleepView(actor="moorage", reason=SleepReason.IDLE, asleep_at=NOW)
    text = parts_of(view(phase=Phase.ASLEEP, sleep=asleep), UsualTimes())["state"]
    assert "It is asleep." in text
    assert "by its idle time" in text
    problem = Problem(
        step="sleep", system="host cluster", cause="Pod a stays.", remedy="Look.", type="NotYet"
    )
    stuck = SleepView(actor="bob@example.com", problem=problem)
    text = parts_of(view(phase=Phase.FALLING_ASLEEP, sleep=stuck), UsualTimes())["state"]
    assert "It does not fall asleep yet." in text
    assert "Pod a stays." in text
    failed = SleepView(actor="bob@example.com", asleep_at=NOW, problem=problem)
    assert "It could not be woken." in parts_of(view(phase=Phase.ASLEEP, sleep=failed), UsualTimes())["state"]
    assert "asleep" not in parts_of(view(sleep=None), UsualTimes())["state"]


def test_snapshots_are_listed_and_offered_to_those_who_decide() -> None:
    """Ensures that what they leave out is said each time, and that none is offered where there are none."""
    problem = Problem(step="snapshot", system="host cluster", cause="No space.", remedy="", type="NeverReady")
    taken = Snapshot(number=1, actor="bob@example.com", asked_at=NOW, taken_at=NOW)
    failed = taken.model_copy(update={"number": 2, "taken_at": None, "problem": problem})
    before = "the change to small version 2"
    open_ = taken.model_copy(update={"number": 3, "taken_at": None, "before": before})
    shared, one = SharedSections(LINKS), view(snapshots=(taken, failed, open_))
    owner = sections(shared.message(one, principal("bob", "blue"), BASE))["side"]
    guest = sections(shared.message(one, principal("dave", "green"), BASE))["side"]
    for text in (owner, guest):
        assert text.index("3, being taken") < text.index("2, not taken: No space.") < text.index("1, taken ")
        assert f"before {before}" in text
        assert "Without the volumes of its workloads." in text
    assert ("Take a snapshot" in owner, "Take a snapshot" in guest) == (True, False)
    for without in ({"no_snapshots": "its vCluster takes none"}, {"phase": Phase.ASLEEP}):
        message = SharedSections(LINKS).message(view(**without), principal("bob", "blue"), BASE)
        assert "napshot" not in sections(message)["side"]


TAKEN = Snapshot(number=1, actor="bob@example.com", asked_at=NOW, taken_at=NOW)
DAMAGED = Problem(
    step="restore",
    system="host cluster",
    cause="its pod ended with <code> 1",
    remedy="See its log.",
    type="X",
)
RESTORE = Restore(number=1, actor="bob@example.com", started_at=NOW)
CHANGE = ChangeView(
    template="small", template_version=2, kubernetes="v1.36.0", actor="bob@example.com", started_at=NOW
)


def test_a_restore_is_offered_of_each_snapshot_that_was_taken_to_those_who_decide() -> None:
    """Ensures that it says what comes back, what does not, and what is gone, before anything is restored."""
    failed = TAKEN.model_copy(update={"number": 2, "taken_at": None, "problem": DAMAGED})
    later = TAKEN.model_copy(update={"number": 3})
    shared, one = SharedSections(LINKS), view(snapshots=(TAKEN, failed, later))
    for person, may in (
        (principal("bob", "blue"), True),
        (principal("carol", "blue"), True),
        (principal("root", role=Role.PLATFORM), True),
        (principal("dave", "green"), False),
    ):
        side = sections(shared.message(one, person, BASE))["side"]
        offered = re.findall(r'name="number" value="(\d+)"', side)
        assert offered == (["3", "1"] if may else [])
        for words in ("What comes back:", "What does not:", "What is gone:", "its volumes too"):
            assert (words in side) is may


@pytest.mark.parametrize(
    "fields",
    [
        {"snapshots": ()},
        {"snapshots": (TAKEN.model_copy(update={"taken_at": None}),)},
        {"restore": RESTORE},
        {"change": CHANGE},
        {"phase": Phase.ASLEEP},
        {"phase": Phase.TEARING_DOWN},
        {"no_snapshots": "its vCluster takes none"},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_no_restore_is_offered_where_it_would_be_refused(fields: dict[str, Any]) -> None:
    one = view(**{"snapshots": (TAKEN,), **fields})
    side = sections(SharedSections(LINKS).message(one, principal("bob", "blue"), BASE))["side"]
    assert 'id="restore"' not in side


def test_nothing_else_is_offered_during_a_restore() -> None:
    one = view(snapshots=(TAKEN,), template_version=1, template_newer=2)
    for restore, offered in ((None, True), (RESTORE, False)):
        now = one.model_copy(update={"restore": restore})
        side = sections(SharedSections(LINKS).message(now, principal("bob", "blue"), BASE))["side"]
        for words in ("Take a snapshot", "Upgrade to version 2", "Restore snapshot 1"):
            assert (words in side) is offered, words


@pytest.mark.parametrize(
    ("fields", "said", "is_bad"),
    [
        ({"restore": RESTORE}, ("Snapshot 1 is being restored.", "For bob@example.com.", "left out"), False),
        (
            {"restore": RESTORE.model_copy(update={"is_resumed": True})},
            ("Snapshot 1 is being restored.", "It runs again."),
            False,
        ),
        (
            {"restore": RESTORE.model_copy(update={"problem": DAMAGED}), "restore_problem": DAMAGED},
            ("it goes back to the state before", "Its pod ended with &lt;code&gt; 1"),
            True,
        ),
        (
            {
                "restore": RESTORE.model_copy(
                    update={"problem": DAMAGED, "obstacle": DAMAGED, "next_try_at": NOW}
                )
            },
            ("it goes back to the state before", "Not yet: its pod ended", "What to do:", "Next try"),
            True,
        ),
        (
            {"restore_problem": DAMAGED},
            ("The last restore failed, and it has the state of before.", "Its pod ended", "See its log."),
            True,
        ),
        ({"restore_problem": DAMAGED, "ended": True, "phase": Phase.GONE}, (), False),
        ({"snapshots": (TAKEN,)}, (), False),
    ],
    ids=["goes on", "runs again", "goes back", "does not go back yet", "failed", "failed and gone", "none"],
)
def test_the_state_says_how_a_restore_stands(
    fields: dict[str, Any], said: tuple[str, ...], is_bad: bool
) -> None:
    text = parts_of(view(**fields), UsualTimes())["state"]
    for words in said:
        assert words in text
    assert ('data-about="restore"' in text) is bool(said)
    assert ("notice bad" in text) is is_bad


def test_a_page_gets_its_forms_again_when_snapshots_or_a_restore_change() -> None:
    """Ensures that what can be restored is offered, also on a page that was open before."""
    versions = {
        version_of(one)
        for one in (view(), view(snapshots=(TAKEN,)), view(snapshots=(TAKEN,), restore=RESTORE))
    }
    assert len(versions) == 3


def test_the_run_in_temporal_is_for_the_platform_team() -> None:
    shared, one = SharedSections(LINKS), view(run_id="run-7")
    link = f'href="{LINKS.run("demo", "run-7")}"'
    assert link in sections(shared.message(one, principal("root", role=Role.PLATFORM), BASE))["links"]
    assert "Temporal" not in shared.message(one, principal("bob", "blue"), BASE)
    nowhere = SharedSections(TemporalLinks(None, "moorage"))
    assert "Temporal" not in nowhere.message(one, principal("root", role=Role.PLATFORM), BASE)


def test_sections_are_rendered_once_for_all_who_may_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    render = rendering.render

    def counted(template: str, /, **context: Any) -> Any:
        rendered.append(template)
        return render(template, **context)

    monkeypatch.setattr(environment_sections, "render", counted)
    shared, one = SharedSections(LINKS), view()
    for number in range(50):
        shared.message(one, principal(f"mate-{number}", "blue"), BASE)
    assert len(rendered) == len(environment_sections.SECTIONS)
    shared.message(one, principal("bob", "blue"), BASE)
    shared.message(one.model_copy(), principal("bob", "blue"), BASE)
    assert len(rendered) == 3 * len(environment_sections.SECTIONS), "another view is rendered again"


def test_sections_hold_no_secret_of_the_person_they_were_rendered_for() -> None:
    message = SharedSections(LINKS).message(view(), principal("carol", "blue"), BASE)
    assert "carol" not in message
    assert 'name="csrf" value=""' in sections(message)["side"]


def test_the_address_to_take_it_is_that_of_each_person() -> None:
    shared, left = SharedSections(LINKS), view(owner_left_at=NOW)
    for name in ("carol", "erin"):
        side = sections(shared.message(left, principal(name, "blue"), BASE))["side"]
        assert f'value="{name}@example.com"' in side


def test_the_version_is_that_of_the_view() -> None:
    one = view()
    message = json.loads(SharedSections(LINKS).message(one, principal("bob", "blue"), BASE))
    assert message["version"] == version_of(one)
    assert version_of(one) != version_of(view(phase=Phase.TEARING_DOWN))


def test_extensions_end_with_the_latest_that_the_policy_allows() -> None:
    one = view(expires_at=NOW, extendable_until=NOW + timedelta(hours=30))
    offered = choices_of(one, principal("bob", "blue"))["extensions"]
    assert [by for _, by in offered] == [timedelta(hours=8), timedelta(hours=24), timedelta(hours=30)]
    assert choices_of(view(), principal("bob", "blue"))["extensions"] == []


def test_an_upgrade_is_offered_to_those_who_decide() -> None:
    """Ensures that it is offered while there is a newer version, and no change is in progress."""
    shared, newer = SharedSections(LINKS), view(template_version=1, template_newer=2)
    assert "Upgrade to version 2" in sections(shared.message(newer, principal("carol", "blue"), BASE))["side"]
    guest = sections(shared.message(newer, principal("dave", "green"), BASE))
    assert "Upgrade to" not in guest["side"]
    for other in (view(template_version=1), newer.model_copy(update={"change": CHANGE})):
        message = SharedSections(LINKS).message(other, principal("bob", "blue"), BASE)
        assert "Upgrade to" not in sections(message)["side"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"repairs": True}, "It is being repaired."),
        ({}, "It is not repaired by itself: tell the platform team."),
        (
            {
                "repairs": True,
                "problem": Problem(step="group", system="x", cause="No <right>.", remedy="", type="Denied"),
            },
            "It could not be repaired so far: No &lt;right&gt;.",
        ),
    ],
    ids=["repairs", "reported", "failed"],
)
def test_what_is_altered_is_shown(fields: dict[str, Any], said: str) -> None:
    drift = Drift(step=StepName.GROUP, system="control plane", what="group x is missing", since=NOW, **fields)
    shown = parts_of(view(drift=(drift,)), UsualTimes())["state"]
    assert "Group x is missing." in shown
    assert said in shown
    assert "Group x" not in parts_of(view(), UsualTimes())["state"]
