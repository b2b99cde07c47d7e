"""What templates make of data: times, lengths, states, and text that others have written."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from markupsafe import Markup

from contracts.environment.models import Outcome, Phase, StepState
from contracts.phases import StepName
from starter.environments.schemas import ChangeView, EnvironmentView, Progress, StepView
from starter.page.environment_parts import MAX_KEPT, KeptMessages, SharedParts, parts_of, version_of
from starter.page.rendering import (
    STATES,
    capitalize_first,
    iso,
    length,
    next_try,
    number,
    relative,
    utc_text,
    with_commands,
)
from starter.page.static_files import FILES, static_path
from starter.statistics.usual_times import UsualTime, UsualTimes
from tests.page.samples import a_view

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}"
TEMPLATES = Path(__file__).parents[2] / "starter" / "page" / "templates"


CHANGE = ChangeView(
    template="small", template_version=2, kubernetes="v1.36.0", actor="bob@example.com", started_at=NOW
)


def view(**fields: object) -> EnvironmentView:
    return a_view(**{"phase": Phase.PROVISIONING, **fields})


def step(**fields: object) -> StepView:
    return StepView(**{"step": StepName.VCLUSTER, "system": "host", "state": StepState.RUNNING} | fields)


def test_times_are_in_utc() -> None:
    berlin = datetime(2026, 11, 27, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert (iso(berlin), utc_text(berlin)) == ("2026-11-27T12:00:00Z", "2026-11-27 12:00 UTC")


@pytest.mark.parametrize(
    ("away", "text"),
    [(timedelta(hours=8), "in 8h"), (timedelta(minutes=-5), "5m ago"), (timedelta(0), "0s ago")],
)
def test_relative_times(away: timedelta, text: str) -> None:
    assert relative(NOW + away, NOW) == text


@pytest.mark.parametrize(
    ("away", "text"), [(timedelta(seconds=8), "in 8s"), (timedelta(0), "now"), (timedelta(seconds=-8), "now")]
)
def test_next_try_that_is_due_is_now(away: timedelta, text: str) -> None:
    """Ensures that nothing is to be tried in the past."""
    assert next_try(NOW + away, NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (9.96, "10.0s"), (10, "10s"), (95, "1m 35s"), (-3, "0.0s")]
)
def test_lengths(seconds: float, text: str) -> None:
    """Ensures that a clock that was set back does not show a negative length."""
    assert length(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("project", "Project"),
        ("vCluster", "vCluster"),
        ("", ""),
        ("a", "A"),
        ("vCluster, up", "vCluster, up"),
    ],
)
def test_a_name_stays_as_it_is_at_the_start_of_a_line(text: str, shown: str) -> None:
    assert capitalize_first(text) == shown


@pytest.mark.parametrize("state", [*Phase, *Outcome, *StepState])
def test_every_state_has_words_and_a_colour(state: str) -> None:
    words, colour = STATES[state]
    assert words
    assert colour in {"good", "busy", "bad", "quiet"}


def test_text_of_others_is_escaped_in_every_part() -> None:
    shown = view(
        remark=HOSTILE,
        collaborators=(HOSTILE,),
        problem={"step": HOSTILE, "system": HOSTILE, "cause": HOSTILE, "remedy": HOSTILE, "type": ""},
        unfinished=[{"step": HOSTILE, "system": HOSTILE, "cause": HOSTILE, "remedy": HOSTILE, "type": ""}],
        unwell={"what": HOSTILE},
        frozen={"by": HOSTILE, "reason": HOSTILE},
        access={"granting": [HOSTILE], "revoking": [HOSTILE]},
        steps=(
            step(note=HOSTILE, state=StepState.DONE),
            step(progress=Progress(waiting_for=HOSTILE, last_failure=HOSTILE)),
            step(progress=Progress(throttled_by=HOSTILE)),
        ),
    )
    parts = parts_of(shown, UsualTimes())
    text = "".join(parts.values())
    assert "<script" not in text
    assert str(Markup.escape(HOSTILE)) in text
    assert "49" not in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"progress": Progress()}, ""),
        ({"note": "mrg-demo"}, "mrg-demo"),
        ({"progress": Progress(waiting_for="its pods")}, "Waiting for its pods."),
        (
            {"progress": Progress(attempt=3, last_failure="It is full.", next_attempt_at=NOW)},
            "Attempt 3. Last failure: It is full. Next try now",
        ),
        (
            {"progress": Progress(throttled_by="Rafay", next_attempt_at=NOW)},
            "Rafay has asked for a pause. Next try now",
        ),
    ],
    ids=["nothing", "note", "waits", "failed", "throttled"],
)
def test_a_step_says_what_it_waits_for_and_why_it_has_failed(fields: dict[str, object], words: str) -> None:
    """Ensures that it has nothing to open where it has nothing to say."""
    shown = parts_of(view(steps=(step(**fields),)), UsualTimes())["steps"]
    said = re.findall(r'class="why[^>]*>(.*?)</(?:details|span)>', shown, re.DOTALL)
    assert [re.sub(r"<[^>]+>", "", each) for each in said] == ([words] if words else [])


def test_a_step_says_how_long_it_takes_and_how_long_it_usually_takes() -> None:
    usual = UsualTimes(
        host="local",
        steps={StepName.VCLUSTER: UsualTime(median=12.3, p90=20, count=40)},
        ready=UsualTime(median=21, p90=30, count=40),
    )
    running = parts_of(view(steps=(step(started_at=NOW),)), usual)["steps"]
    assert "usually 12s" in running
    assert "Usually it is ready after 21s" in running
    assert 'data-kind="elapsed"' in running
    done = step(state=StepState.DONE, started_at=NOW, ended_at=NOW + timedelta(seconds=2.5))
    finished = parts_of(view(steps=(done,), phase=Phase.READY), usual)["steps"]
    assert '<data class="number" value="2.5">2.5</data>s' in finished
    assert "usually 12s" in finished
    undone = parts_of(view(steps=(done,), phase=Phase.TEARING_DOWN), usual)["steps"]
    assert "usually" not in undone.lower().replace("visually", "")


def test_a_step_that_is_undone_says_how_long_that_usually_takes() -> None:
    usual = UsualTimes(
        steps={StepName.VCLUSTER: UsualTime(median=12.3, p90=20, count=40)},
        undos={StepName.VCLUSTER: UsualTime(median=37, p90=50, count=40)},
    )
    for state in (StepState.UNDOING, StepState.UNDONE):
        undone = step(state=state, started_at=NOW, took=timedelta(seconds=12))
        shown = parts_of(view(steps=(undone,), phase=Phase.TEARING_DOWN), usual)["steps"]
        assert ("usually 37s" in shown, "usually 12s" in shown) == (True, False), state


@pytest.mark.parametrize(
    ("text", "marked", "rest"),
    [
        (1204, "1204", ""),
        ("9876Gi", "9876", "Gi"),
        ("1234.5", "1234.5", ""),
        ("0.2s", "0.2", "s"),
        (999, "", "999"),
        ("1m 35s", "", "1m 35s"),
        ("2026-11-27", "", "2026-11-27"),
        ("20260-1", "", "20260-1"),
        ("1.36.0", "", "1.36.0"),
        ("unknown <b>", "", "unknown &lt;b&gt;"),
        ("6.5<b>", "6.5", "&lt;b&gt;"),
    ],
)
def test_numbers_that_readers_write_in_different_ways_are_marked(
    text: object, marked: str, rest: str
) -> None:
    element = f'<data class="number" value="{marked}">{marked}</data>' if marked else ""
    assert number(text) == element + rest


def test_watchers_share_one_rendering_of_a_view() -> None:
    parts, shown = SharedParts(), view()
    assert parts.message(shown, UsualTimes()) is parts.message(shown, UsualTimes())
    assert parts.message(view(phase=Phase.READY), UsualTimes()) != parts.message(shown, UsualTimes())


@pytest.mark.parametrize(
    "change",
    [
        {"phase": Phase.READY}, {"ended": True}, {"owner": "carol@example.com"}, {"life": "b2"},
        {"collaborators": ("dave@example.com",)}, {"expires_at": NOW}, {"owner_left_at": NOW},
        {"template_version": 2},
        {"change": CHANGE},
    ],
)  # fmt: skip
def test_the_version_changes_with_what_decides_about_forms(change: dict[str, object]) -> None:
    assert version_of(view(**change)) != version_of(view())


def test_the_version_stays_while_only_steps_pass() -> None:
    assert version_of(view(steps=(step(started_at=NOW),))) == version_of(view())


def test_files_are_small_and_have_addresses_of_their_content() -> None:
    sizes = {name: len(file.content) for name, file in FILES.items()}
    assert sizes["style.css"] < 20_000
    assert sizes["page.js"] < 12_000
    assert sizes["notices.js"] < 4_000
    assert static_path("page.js") == f"/static/page.js?v={FILES['page.js'].digest}"


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_script_style_or_unescaped_text(template: Path) -> None:
    """Ensures that the Content-Security-Policy, which would block them, has nothing to block."""
    text = template.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe|autoescape", text)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)


@pytest.mark.parametrize("template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_every_form_that_changes_something_has_the_csrf_field(template: Path) -> None:
    text = template.read_text()
    forms = re.findall(r"<form[^>]*method=\"post\".*?</form>", text, re.DOTALL)
    assert all("hidden(csrf" in form or 'name="csrf"' in form for form in forms), template.name


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("see `moorage doctor` first", "see <code>moorage doctor</code> first"),
        ("`a` and `b`", "<code>a</code> and <code>b</code>"),
        ("one ` alone", "one ` alone"),
        ("`<b>` & co", "<code>&lt;b&gt;</code> &amp; co"),
        ("", ""),
    ],
)
def test_commands_in_sentences_are_code(text: str, html: str) -> None:
    assert with_commands(text) == Markup(html)


@pytest.mark.parametrize(
    ("phase", "states", "done"),
    [
        (
            Phase.PROVISIONING,
            (StepState.DONE, StepState.RUNNING, StepState.WAITING),
            "1 of 3 steps are done.",
        ),
        (Phase.GONE, (StepState.UNDONE, StepState.WAITING), "Nothing left of 2 of 2 steps."),
        (Phase.TEARING_DOWN, (StepState.DONE, StepState.UNDOING), "Nothing left of 0 of 2 steps."),
    ],
)
def test_steps_are_counted_by_what_is_done_with_them(
    phase: Phase, states: tuple[StepState, ...], done: str
) -> None:
    steps = tuple(step(state=state) for state in states)
    assert done in parts_of(view(steps=steps, phase=phase), UsualTimes())["steps"]


def test_the_views_of_many_environments_fill_no_memory() -> None:
    """Ensures also that the environment that was watched last is kept."""
    kept = KeptMessages()
    views = [view(life=str(number)) for number in range(MAX_KEPT + 1)]
    for one in views[:-1]:
        kept.of(one)["who"] = one.life
    assert kept.of(views[0]) == {"who": "0"}
    kept.of(views[-1])
    assert kept.of(views[0]) == {"who": "0"}
    assert kept.of(views[1]) == {}
    assert len(kept._kept) == MAX_KEPT
