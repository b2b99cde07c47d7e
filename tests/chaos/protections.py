"""`python -m tests.chaos.protections`: takes each protection away once, and sees which test goes red.

A test that passes when the protection is removed proves nothing. Each removal is made in a copy of the tree;
the tests that belong to it run there and must fail. The results go to docs/reference/protections.md; with
words of names as arguments, only those protections are tried and the results are printed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "protections.md"
#: More than any of these tests takes on a busy machine; one that hangs without its protection is red too.
MAX_WAIT = 240
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
_ABOUT = """# Protections under test

Made by `python -m tests.chaos.protections`: each line is a protection that was taken away in a copy of the
tree, and the test that went red then; with the protection in its place again, the same test was green.

| point | protection that was taken away | went red |
| --- | --- | --- |
"""


@dataclass(frozen=True)
class Protection:
    """One protection: of which promise, where it is, what is put in its place, and who has to notice."""

    point: str
    name: str
    file: str
    old: str
    new: str
    tests: str
    only: str = ""


FAILING = "tests/lifecycle/test_failing.py"
OUTCOMES = "tests/workflows/test_outcomes.py"
INSPECTION = "        left, unknown = await self._inspect()\n"
NO_INSPECTION = f"        if undo_problems:\n            return undo_problems\n{INSPECTION}"
PEOPLE = "tests/workflows/test_people.py"
SLEEP = "tests/workflows/test_sleep.py"
LEAVERS, DRIFT = "tests/workflows/test_leavers.py", "tests/activities/test_drift.py"
TAKE_OVER = "tests/activities/test_take_over.py"
BOOKINGS = "tests/workflows/test_bookings.py"
RESTORE = "tests/workflows/test_restore.py"
PROTECTIONS = (
    Protection(
        "4", "a standby is taken over by a compare-and-swap", "embedded/host/namespaces.py",
        'if (row["uid"], _version_of(row)) != (wanted.uid, wanted.resource_version):', "if False:",
        TAKE_OVER, "of_two_environments",
    ),
    Protection(
        "4", "a broken standby is withdrawn before its environment makes its own",
        "activities/parts/standby_claim.py",
        "                await host.swap_namespace(seen, {}, {ANNOTATION_STANDBY: problem})\n",
        "                return environment.without_standby\n",
        TAKE_OVER, "cannot_be_had",
    ),
    Protection(
        "3", "the undo of a standby leaves one that was taken over", "activities/steps/vcluster.py",
        "if environment.is_standby and await withdraw(host, environment):", "if False:",
        TAKE_OVER, "leaves_one_that_was_taken_over",
    ),
    Protection(
        "3", "a teardown waits for a change of access that is under way", "workflows/environment/workflow.py",
        "for stopped in (self._drift, self._sleep, self._access):",
        "for stopped in (self._drift, self._sleep):",
        PEOPLE, "teardown_waits",
    ),
    Protection(
        "3", "a teardown waits for a change of the template that is under way",
        "workflows/environment/workflow.py",
        "        await self._run_shielded(self._changer.stop())\n", "",
        "tests/workflows/test_template_change.py", "in_the_middle",
    ),
    Protection(
        "3", "a teardown waits for a restore that is under way", "workflows/environment/workflow.py",
        "        await self._run_shielded(self._restorer.stop())\n", "",
        RESTORE, "teardown_waits",
    ),
    Protection(
        "2", "a restore changes nothing without a way back", "workflows/changes/restore.py",
        "if way_back is None or way_back.problem:", "if way_back is None:",
        RESTORE, "without_a_way_back",
    ),
    Protection(
        "4", "a restore waits for late answers before it goes back", "workflows/changes/restore.py",
        "            if in_doubt:\n", "            if False:\n",
        RESTORE, "lost_answer",
    ),
    Protection(
        "2", "who was removed since a snapshot has no access by its restore",
        "activities/changes/snapshots.py",
        "                if person not in input.people:\n", "                if not person:\n",
        "tests/activities/test_snapshots.py", "removed_since",
    ),
    Protection(
        "2", "a rollout begins no wave after its failures", "workflows/rollout.py",
        "            if left and failures >= rollout.stop_after:\n", "            if False:\n",
        "tests/workflows/test_rollout.py", "so_many_failures",
    ),
    Protection(
        "1", "a repeated upgrade asks with the same id", "activities/rollout.py",
        'f"{input.item.life}/rollout/{_run_id()}"', 'f"{time.monotonic()}"',
        "tests/workflows/test_rollout.py", "asked_again",
    ),
    Protection(
        "3", "a wake waits for the end of a pause", "workflows/changes/sleep.py",
        "cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED",
        "cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL",
        SLEEP, "never_overtakes",
    ),
    Protection(
        "4", "a late call to pause a vCluster changes nothing", "clients/host/pause.py",
        'version = {"resourceVersion": (controller.get("metadata") or {}).get("resourceVersion")}',
        "version: dict[str, Any] = {}",
        "tests/clients/kubernetes/test_pause.py", "pause_patch",
    ),
    Protection(
        "6", "nothing is woken without room", "workflows/changes/sleep.py",
        "                if decision.refusal:\n                    raise _refused(decision.refusal)\n", "",
        SLEEP, "without_room",
    ),
    Protection(
        "4", "access that is taken away is taken away again after a late response",
        "contracts/environment/pending_access.py",
        "set(done.people) - (set() if settled else set(done.doubtful))", "set(done.people)",
        PEOPLE, "lost_response",
    ),
    Protection(
        "leavers", "a sweep stops itself when many have left at once", "contracts/sweeps/leavers.py",
        "brake_reason(looked, left, sweep.confirmed, sweep.limit_percent)", '""',
        LEAVERS, "lost_its_people",
    ),
    Protection(
        "leavers", "a missing person is looked up a second time", "workflows/sweeps/leavers.py",
        "return (await self._look(again, \"look up again who was missing\")).missing",
        "return (await self._look(again, \"look up again who was missing\")).missing or missing",
        LEAVERS, "missing_once",
    ),
    Protection(
        "members", "who has become one of its people is not taken out", "activities/steps/identity_group.py",
        "                if user_id.casefold() not in keeps:", "                if user_id:",
        DRIFT, "only_who_was_named",
    ),
    Protection(
        "members", "people who change during a look are no difference", "activities/reconcile/drift.py",
        "return found if found and await self.current() == now else []", "return found",
        DRIFT, "members_are_those",
    ),
    Protection(
        "1", "a lost worker is noticed by its heartbeat", "workflows/step_executor.py",
        "                    heartbeat_timeout=self._timeouts.heartbeat_timeout,\n"
        "                    retry_policy=self._retries(),\n                    # An undo",
        "                    retry_policy=self._retries(),\n                    # An undo",
        "tests/chaos/test_killed.py", "step_waits and vcluster",
    ),
    Protection(
        "1", "what exists and is ours is taken for done", "activities/parts/control_plane_resource.py",
        "except AlreadyExists:", "except ZeroDivisionError:",
        "tests/chaos/test_killed.py", "is_made and project and answered",
    ),
    Protection(
        "2", "the undo is registered before the do", "workflows/saga.py",
        "        self._started_steps.append(step)\n"
        "        self._state.set_step_state(step.name, StepState.RUNNING)\n",
        "        self._state.set_step_state(step.name, StepState.RUNNING)\n        self._late = step\n",
        OUTCOMES, "",
    ),
    Protection(
        "2", "what cannot be undone does not keep the rest", "workflows/saga.py",
        "            elif problem := await self._remove(step):\n                problems.append(problem)\n",
        "            elif problem := await self._remove(step):\n                return (problem,)\n",
        OUTCOMES, "cannot_end",
    ),
    Protection(
        "2", "every pass looks at all that is undone", "workflows/saga.py",
        INSPECTION, NO_INSPECTION,
        OUTCOMES, "holds_another",
    ),
    Protection(
        "2", "steps that wait hold up no undo", "workflows/step_executor.py",
        "            is_undo=True,\n            attempt=self._timeouts.undo_timeout,\n",
        "            attempt=self._timeouts.undo_timeout,\n",
        OUTCOMES, "hold_up_no_undo",
    ),
    Protection(
        "3", "a cancellation does not end the undo: not one shield, but a loop",
        "workflows/shielded_waits.py",
        "                if task := asyncio.current_task():\n                    task.uncancel()\n"
        "                self._on_cancelled()\n",
        "                raise\n",
        "tests/chaos/test_cancelled.py", "rollback",
    ),
    Protection(
        "2", "a step follows its system into another task queue", "workflows/task_queues.py",
        "                if system_of_other_queue(error) is system and not is_own:\n",
        "                if False:\n",
        "tests/workflows/test_task_queues.py", "gets_its_own_worker",
    ),
    Protection(
        "2", "a step that no worker takes up asks whether its queue is still one", "workflows/task_queues.py",
        "                    await self._read_again()\n",
        "                    pass\n",
        "tests/workflows/test_task_queues.py", "has_no_worker_any_more",
    ),
    Protection(
        "3", "the undo waits for the end of the do", "workflows/step_executor.py",
        "cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,\n"
        "                    priority=self._priority(steps_before),",
        "cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,\n"
        "                    priority=self._priority(steps_before),",
        OUTCOMES, "",
    ),
    Protection(
        "3", "the first cause decides", "workflows/environment/workflow.py",
        "        if self._is_ending():\n            return self._answer(AnswerKind.NOTHING_TO_DO, "
        'f"{self._name} is being torn down already.")\n        self._ending = Ending(Outcome.CANCELLED',
        "        self._ending = Ending(Outcome.CANCELLED",
        OUTCOMES, "",
    ),
    Protection(
        "4", "the mark is looked at before anything is touched", "activities/ownership.py",
        "    if not ours.matches_text(found):\n", "    if False:\n",
        "tests/activities/test_every_step.py", "never_touched",
    ),
    *(
        Protection(
            "4", f"it waits until no late answer can come ({step})", "workflows/saga.py",
            "        return self._late_until is None or workflow.now() >= self._late_until\n",
            "        return True\n",
            "tests/chaos/test_ambiguous.py", f"undo_has_looked and {step}",
        )
        for step in ("project", "group", "namespace")
    ),
    Protection(
        "4", "it looks, and what it finds is undone", "workflows/saga.py",
        "            if result.left:\n", "            if False:\n",
        "tests/chaos/test_ambiguous.py", "undo_has_looked and project",
    ),
    Protection(
        "4", "an inspection that began too soon does not count", "workflows/saga.py",
        "        if is_late_enough and ", "        if self._is_past_late_responses() and ",
        OUTCOMES, "began_too_soon",
    ),
    Protection(
        "4", "what Temporal has given up begins nothing more", "clients/transport/http.py",
        "                ensure_before_deadline(self.system, operation)\n", "                pass\n",
        "tests/activities/test_deadline.py", "slow",
    ),
    Protection(
        "4", "no member is added to a group that the undo misses", "activities/steps/identity_group.py",
        "            await self._wait_until_found(group, environment)\n", "",
        "tests/activities/test_identity.py", "no_member_is_added",
    ),
    Protection(
        "4", "what had no answer is in doubt", "workflows/activity_failures.py",
        "    return details is None or details.in_doubt\n", "    return False\n",
        "tests/chaos/test_ambiguous.py", "undo_has_looked and project",
    ),
    Protection(
        "4", "the pause that is asked for is obeyed", "activities/errors.py",
        "next_retry_delay=retry_after,", "next_retry_delay=None,",
        "tests/lifecycle/test_throttled.py", "requested_pause",
    ),
    Protection(
        "4", "a group is looked for before it is made again", "activities/steps/identity_group.py",
        "        if group is None:\n            group = await self._create(environment)\n",
        "        name, mark = environment.derived_name, environment.mark.text\n"
        "        group = await self._directory.create_group(name, mark)\n",
        FAILING, "lost and cut",
    ),
    Protection(
        "6", "what is said of one life is not said of the next", "starter/environments/access.py",
        "        if life and life != snapshot.life:\n", "        if False:\n",
        "tests/api/test_lives.py", "another_life",
    ),
    Protection(
        "6", "the same request twice is one", "starter/environments/requests/service.py",
        "                if latest.request_id == start.request_id:\n", "                if False:\n",
        "tests/lifecycle/test_one_name.py", "same_key",
    ),
    Protection(
        "7", "an answer has a limit", "clients/transport/http.py",
        "            if len(content) > self._max_answer_bytes:\n", "            if False:\n",
        "tests/chaos/test_odd_answers.py", "without_end and identity",
    ),
    Protection(
        "7", "a cursor is checked before Temporal sees it", "starter/environments/lists/listing.py",
        "token = self._cursors.read(cursor, query)",
        "token = cursor.encode() if cursor else None",
        "tests/chaos/test_fuzz.py", "hundred",
    ),
    Protection(
        "bookings", "a code is good for one person", "workflows/booking.py",
        'or seat.person not in ("", ask.person) or', "or",
        BOOKINGS, "of_two_people",
    ),
    Protection(
        "bookings", "the room of a booking is held from the moment it is booked",
        "contracts/capacity/ledger.py",
        "held = held.plus(hold.size, self.seats_left(hold, key[1]))", "pass",
        BOOKINGS, "its_room_is_held",
    ),
    Protection(
        "bookings", "a booking is not over while a seat of it may still start", "activities/booking_end.py",
        "        if is_held and not is_over:\n", "        if False:\n",
        BOOKINGS, "may_still_start",
    ),
    Protection(
        "bookings", "standbys of a booking that has ended hold their places until they are gone",
        "workflows/capacity/warm_pools.py",
        "            if not self._is_of_ended_booking(name):\n                ledger.retire(name)\n",
        "            ledger.remove(name)\n",
        BOOKINGS, "no_list_shows_yet",
    ),
    Protection(
        "bookings", "standbys of a booking that leave before its end are known until they are gone",
        "contracts/capacity/ledger.py",
        "if place and place.booking:", "if False:",
        BOOKINGS, "leaves_before or no_list_shows",
    ),
    Protection(
        "bookings", "a standby of a booking whose start was not answered keeps its place",
        "workflows/capacity/warm_pools.py",
        "if not (booking and workflow.patched(_KEEP_PLACES_OF_LOST_STARTS)):", "if True:",
        BOOKINGS, "start_was_not_answered",
    ),
    Protection(
        "bookings", "a person who asks again means the same life", "starter/bookings/service.py",
        "id = request_id(principal.email, name, key)", "id = f\"{datetime.now(UTC)}\"",
        BOOKINGS, "same_standby_by_asking_again",
    ),
    Protection(
        "bookings", "a standby ends with the place of the life that it was given to",
        "workflows/capacity/workflow.py",
        "        self._keeper.note_ended_claims(found.ended_claims)\n", "",
        BOOKINGS, "does_not_ask_again",
    ),
    Protection(
        "bookings", "the same request for a booking goes on where it was cut off",
        "starter/bookings/service.py",
        "id = _request_id_of(requested, principal, latest)", "id = f\"{datetime.now(UTC)}\"",
        BOOKINGS, "goes_on_where_the_one_of_before",
    ),
    Protection(
        "bookings", "a repeat does not give the room of the booking back", "starter/bookings/service.py",
        'if latest and latest.request_id not in ("", id):', "if True:",
        BOOKINGS, "at_the_same_moment_one_books",
    ),
    Protection(
        "bookings", "a certificate that cannot be read says nothing", "contracts/booking_workflow.py",
        "else not place.is_unproven", "else True",
        "tests/contracts/test_bookings.py", "could_not_read",
    ),
    Protection(
        "secrets", "logs show no local variables", "worker/telemetry.py",
        "ExceptionDictTransformer(show_locals=False)", "ExceptionDictTransformer(show_locals=True)",
        "tests/worker/test_telemetry.py", "",
    ),
    Protection(
        "secrets", "failures say nothing in clear", "worker/data_converter.py",
        '        failure.message, failure.stack_trace = "Encoded failure", ""\n', "",
        "tests/lifecycle/test_secrets.py", "database",
    ),
    Protection(
        "change", "the replays see a command that was left out", "workflows/saga.py",
        INSPECTION, NO_INSPECTION,
        "tests/replay", "",
    ),
    Protection(
        "change", "the replays' sandbox sees every module of a workflow", "workflows/saga.py",
        "\nfrom workflows.activity_failures import", "\n    from workflows.activity_failures import",
        "tests/replay/test_replay.py", "hidden",
    ),
)  # fmt: skip


def copied_to(tree: Path) -> None:
    """Copy all files that git knows, as they are now."""
    shutil.rmtree(tree, ignore_errors=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, files.decode().split("\0")):
        if (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def without(text: str, protection: Protection) -> str:
    """The source with the protection taken away."""
    if protection.old not in text:
        sys.exit(f"{protection.file} has no {protection.old!r} any more: give {protection.name!r} another")
    text = text.replace(protection.old, protection.new, 1)
    if "self._late" in protection.new:  # what was taken from before the activity comes after it
        after = "        self.record_doubt(receipt.in_doubt)\n"
        text = text.replace(after, f"        self._started_steps.append(self._late)\n{after}", 1)
    return text


def try_without(protection: Protection, tree: Path) -> str:
    """The first test that goes red without it, and is green with it; "" if none is."""
    copied_to(tree)
    file = tree / protection.file
    whole = file.read_text(encoding="utf-8")
    file.write_text(without(whole, protection), encoding="utf-8")
    red = _first_red(tree, [protection.tests, *(["-k", protection.only] if protection.only else [])])
    file.write_text(whole, encoding="utf-8")
    if red and (also := _first_red(tree, [red])):
        sys.exit(f"{protection.name}: {also} is red with it as well")
    return red


def _first_red(tree: Path, tests: list[str]) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not e2e", "-p", "no:cacheprovider"]
    command += [f"--timeout={MAX_WAIT - 20}", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=MAX_WAIT
        )
    except subprocess.TimeoutExpired:
        return tests[0]  # it did not end, which is red too
    if done.returncode not in (0, 1):
        sys.exit(f"{tests}: pytest ended with {done.returncode}\n{done.stdout[-2000:]}")
    red = _FAILED.search(done.stdout)
    return red[1] if red and done.returncode else ""


def main() -> int:
    """Try them all, or those that are named; 1 if something was not noticed."""
    wanted = sys.argv[1:]
    rows, unnoticed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for protection in PROTECTIONS:
            if wanted and not any(word in protection.name for word in wanted):
                continue
            began = time.monotonic()
            red = try_without(protection, Path(folder) / "tree")
            unnoticed += not red
            rows.append(
                f"| {protection.point} | {protection.name} | {f'`{red}`' if red else '**nothing**'} |"
            )
            took = time.monotonic() - began
            print(f"{protection.point:<8} {protection.name}: {red or 'NOTHING'} ({took:.0f} s)", flush=True)
    if not wanted:
        PAGE.write_text(_ABOUT + "\n".join(rows) + "\n", encoding="utf-8")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
