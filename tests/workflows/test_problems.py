"""What is said of an activity that failed."""

from temporalio.exceptions import ActivityError, ApplicationError, RetryState, TimeoutError, TimeoutType

from contracts.errors import StepErrorDetails
from workflows.activity_failures import problem_of


def failed_by(cause: BaseException) -> ActivityError:
    """The failure that a workflow sees."""
    error = ActivityError(
        "activity error",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="identity.ensure",
        activity_id="1",
        retry_state=RetryState.TIMEOUT,
    )
    error.__cause__ = cause
    return error


def out_of_time(last_try: BaseException | None) -> ActivityError:
    """All tries together took too long."""
    timeout = TimeoutError("timeout", type=TimeoutType.SCHEDULE_TO_CLOSE, last_heartbeat_details=[])
    timeout.__cause__ = last_try
    return failed_by(timeout)


def test_a_step_that_ran_out_of_time_names_the_system_of_its_last_try() -> None:
    details = StepErrorDetails(system="SCIM directory", remedy="", in_doubt=True)
    last = ApplicationError("SCIM directory: the answer is not JSON.", details)
    problem = problem_of(out_of_time(last), "identity", "identity provider")
    assert problem.system == "SCIM directory", "its cause tells of another system than it is said to be"
    assert "the answer is not JSON" in problem.cause


def test_a_step_that_ran_out_of_time_without_a_word_names_the_steps_own_system() -> None:
    assert problem_of(out_of_time(None), "identity", "identity provider").system == "identity provider"
