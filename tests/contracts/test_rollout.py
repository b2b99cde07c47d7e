"""What a rollout carries and says."""

from datetime import UTC, datetime

from contracts.capacity.models import Amount, ReservationRequest
from contracts.environment.payload_limits import MAX_TEMPLATE_BYTES
from contracts.rollout import (
    MAX_ENVIRONMENTS,
    RolloutInput,
    RolloutItem,
    RolloutLine,
    RolloutOutcome,
    RolloutStatus,
    fit,
    rollout_id,
    template_from_rollout_id,
    waiting_lines,
)
from contracts.templates.template import Template
from tests.workflows.conftest import a_start

SMALL = a_start("a").environment.template


def a_rollout(count: int, template: Template = SMALL, text: str = "") -> RolloutInput:
    def item(number: int) -> RolloutItem:
        name, life = f"env-{number}", f"{number:020d}"
        request = ReservationRequest(
            name=name, life=life, owner="alice@example.com", team="blue", template="small",
            size=Amount(), hosts=("one",), ends_at=datetime.now(UTC),
        )  # fmt: skip
        return RolloutItem(name=name, life=life, parameters={"text": text}, request=request)

    return RolloutInput(template=template, actor="ops@example.com", items=tuple(map(item, range(count))))


def line(outcome: RolloutOutcome) -> RolloutLine:
    return RolloutLine(name=outcome, life=outcome, outcome=outcome)


def status(*outcomes: RolloutOutcome, more: int = 0, dry_run: bool = False, stopped: str = "") -> str:
    return RolloutStatus(
        template="small", version=2, actor="", lines=tuple(map(line, outcomes)),
        more=more, dry_run=dry_run, stopped=stopped,
    ).sentence  # fmt: skip


def test_a_rollout_carries_what_its_run_has_room_for() -> None:
    few = a_rollout(3)
    assert fit(few) == few
    many = fit(a_rollout(MAX_ENVIRONMENTS + 7))
    assert (len(many.items), many.more) == (MAX_ENVIRONMENTS, 7)
    large = SMALL.model_copy(update={"values": {"text": "x" * MAX_TEMPLATE_BYTES}})
    heavy = fit(a_rollout(200, large))
    assert (len(heavy.items) + heavy.more, 50 < len(heavy.items) < 80) == (200, True)
    texts = fit(a_rollout(300, text="x" * 5000))
    assert len(texts.model_dump_json()) < 1_000_000
    assert texts.more == 300 - len(texts.items)


def test_the_sentence_says_what_was_done() -> None:
    done, waiting, rolled_back = RolloutOutcome.UPGRADED, RolloutOutcome.WAITING, RolloutOutcome.ROLLED_BACK
    assert status() == "No environment has an older version than small version 2."
    assert status(waiting, RolloutOutcome.SKIPPED, dry_run=True) == (
        "1 would be upgraded to small version 2, 1 not. Nothing was changed."
    )
    assert status(waiting, done, done, rolled_back, more=4, stopped="1 could not be upgraded") == (
        "Upgrade of all to small version 2: 1 waiting, 2 upgraded, 1 rolled back, and 4 more for the next "
        "upgrade. Stopped: 1 could not be upgraded."
    )


def test_environments_know_their_wave() -> None:
    lines = waiting_lines(a_rollout(6).model_copy(update={"wave": 2}))
    assert [line.wave for line in lines] == [1, 2, 2, 3, 3, 4]
    assert {line.outcome for line in lines} == {RolloutOutcome.WAITING}


def test_a_rollout_is_found_by_its_id() -> None:
    assert template_from_rollout_id(rollout_id("small")) == "small"
