"""The metrics of the worker and the API: their names, and the closed sets of values of their labels.

No label has the name of an environment or of a person: a time series is kept for each set of values.
"""

from dataclasses import dataclass

from contracts.errors import ErrorType
from contracts.phases import System

#: The value of a label for everything that is not in its set.
OTHER = "other"


@dataclass(frozen=True)
class Metric:
    """A metric: its name, its help, its labels without those of the SDK, and the buckets of a histogram."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


#: In seconds, from a stand-in's answer to the longest that a vCluster may take to start, twice.
_LIFE_BUCKETS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0)
#: In seconds, from a call that finds everything there to the limit of the longest step.
_STEP_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
#: In seconds, from an answer on the same network to the longest timeout of a client.
_CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: In seconds, from one hit of a cache to the longest wait for a worker.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# --- of workflows, in the worker -----------------------------------------------------------------------

REQUESTED = Metric(
    "moorage_environments_requested_total",
    "Environments whose provisioning has started.",
    ("template", "host"),
)
ENDED = Metric(
    "moorage_environments_ended_total",
    "Environments of which nothing is left, by the reason for their end.",
    ("template", "host", "outcome"),
)
REQUEST_TO_USABLE = Metric(
    "moorage_request_to_usable_seconds",
    "Time from the request until the kubeconfig works.",
    ("template", "host"),
    _LIFE_BUCKETS,
)
REQUEST_TO_READY = Metric(
    "moorage_request_to_ready_seconds",
    "Time from the request until all steps are done.",
    ("template", "host"),
    _LIFE_BUCKETS,
)
STEP_DURATION = Metric(
    "moorage_step_duration_seconds",
    "Time of a step that has succeeded, with its retries and its wait for a worker.",
    ("step", "action"),
    _STEP_BUCKETS,
)
STEP_FAILURES = Metric(
    "moorage_step_failures_total",
    "Steps that have failed after all retries: a failed ensure ends the provisioning, and a failed remove or "
    "inspect has the teardown make another pass.",
    ("step", "action", "cause"),
)
SWEEPS = Metric("moorage_sweeps_total", "Expiry sweeps that are over, without dry runs.", ("result",))
SWEPT = Metric(
    "moorage_sweep_environments_total",
    "Environments for which something was due in an expiry sweep, by what the sweep did.",
    ("outcome",),
)
LEAVER_SWEEPS = Metric("moorage_leaver_sweeps_total", "Leaver sweeps that are over.", ("result",))
RECONCILE_SWEEPS = Metric(
    "moorage_reconcile_sweeps_total", "Reconcile sweeps that are over, without dry runs.", ("result",)
)
RECONCILED = Metric(
    "moorage_reconciled_total",
    "Lives that a reconcile sweep has adopted, or started to undo or to repair.",
    ("verdict",),
)
ROLLOUTS = Metric(
    "moorage_rollouts_total",
    "Upgrades of all environments of a template that are over.",
    ("template", "result"),
)
ROLLED_OUT = Metric(
    "moorage_rollout_environments_total",
    "Environments whose wave has come in an upgrade of all of their template, by what became of them.",
    ("template", "outcome"),
)

# --- of activities and clients -------------------------------------------------------------------------

RETRIES = Metric(
    "moorage_activity_retries_total",
    "Failed attempts of activities that Temporal repeats, by the system that failed.",
    ("system", "cause"),
)
CALL_DURATION = Metric(
    "moorage_outside_call_duration_seconds",
    "Time of a call to an outside system.",
    ("system",),
    _CALL_BUCKETS,
)
CALLS = Metric(
    "moorage_outside_calls_total", "Calls to outside systems, by their result.", ("system", "result")
)

# --- of the processes ----------------------------------------------------------------------------------

BUILD_INFO = Metric("moorage_build_info", "The version of Moorage that runs.", ("component", "version"))
CERTIFICATE_EXPIRY = Metric(
    "moorage_certificate_expiry_timestamp_seconds",
    "When a certificate that this process uses expires.",
    ("certificate", "host"),
)
REFUSED_PAYLOADS = Metric(
    "moorage_payloads_refused_total",
    "Payloads in Temporal that could not be decrypted, as their key is missing.",
    ("reason",),
)
DROPPED_SPANS = Metric("moorage_trace_spans_dropped_total", "Spans of traces that were not exported.")

# --- of the API ----------------------------------------------------------------------------------------

API_REQUEST_DURATION = Metric(
    "moorage_api_request_duration_seconds",
    "Time from the head of a request to the head of its response.",
    ("method", "route", "status"),
    _REQUEST_BUCKETS,
)
_FILES_UNUSABLE = "Files with problems since their last change; the last valid content is in use."
TEMPLATE_FILES_UNUSABLE = Metric("moorage_template_files_unusable", _FILES_UNUSABLE)
TOKENS_FILES_UNUSABLE = Metric("moorage_tokens_files_unusable", _FILES_UNUSABLE)
ISSUERS_FILES_UNUSABLE = Metric("moorage_issuers_files_unusable", _FILES_UNUSABLE)
TEMPORAL_UP = Metric("moorage_temporal_up", "Whether Temporal has answered the API's last reads.")
ENVIRONMENTS = Metric("moorage_environments", "Environments by phase.", ("phase",))
STUCK = Metric(
    "moorage_environments_stuck", "Environments that are not ready long after their request.", ("phase",)
)
POLLERS = Metric("moorage_task_queue_pollers", "Workers that poll a task queue.", ("task_queue", "task_type"))
SWEEP_INTERVAL = Metric("moorage_sweep_interval_seconds", "Time between two expiry sweeps, by the settings.")
SWEEP_STARTED = Metric(
    "moorage_sweep_last_start_timestamp_seconds",
    "When the last expiry sweep was started, or else when its schedule was created, changed or resumed.",
)
SWEEP_COMPLETED = Metric(
    "moorage_sweep_last_completed_timestamp_seconds", "When the last expiry sweep was completed."
)
RECONCILE_INTERVAL = Metric(
    "moorage_reconcile_interval_seconds", "Time between two reconcile sweeps, by the settings."
)
RECONCILE_STARTED = Metric(
    "moorage_reconcile_last_start_timestamp_seconds",
    "When the last reconcile sweep was started, or else when its schedule was created, changed or resumed.",
)
RECONCILE_COMPLETED = Metric(
    "moorage_reconcile_last_completed_timestamp_seconds",
    "When the last reconcile sweep that could look was completed, without dry runs.",
)
RECONCILE_FOUND = Metric(
    "moorage_reconcile_last_found",
    "Lives without an open environment, or altered under one, by what the last reconcile sweep did.",
    ("outcome",),
)
RECONCILE_SKIPPED = Metric(
    "moorage_reconcile_skipped_sweeps",
    "Reconcile sweeps in a row, to the last one, that have skipped a system.",
    ("system", "host"),
)
FROZEN = Metric("moorage_ends_frozen", "Whether all ends are frozen, so that no sweep runs.")
AUDITED = Metric(
    "moorage_capacity_audit_timestamp_seconds", "When the capacity was last compared with the environments."
)
HOST_KNOWN = Metric(
    "moorage_host_capacity_known",
    "Whether a host says what it has; nothing is placed on it otherwise.",
    ("host",),
)
HOST_CAPACITY = Metric(
    "moorage_host_capacity",
    "What environments may hold of a host; none if it is unlimited.",
    ("host", "resource", "unit"),
)
HOST_RESERVED = Metric(
    "moorage_host_reserved", "What environments hold of a host.", ("host", "resource", "unit")
)
POOL_STANDBYS = Metric(
    "moorage_warm_pool_standbys", "Standbys of a template, ready or in the making.", ("template", "state")
)
POOL_WANTED = Metric("moorage_warm_pool_wanted", "Standbys that are to be ready now.", ("template",))
POOL_TAKEN = Metric(
    "moorage_warm_pool_taken", "Standbys that were handed out in the last ten minutes.", ("template",)
)
POOL_MISSED = Metric(
    "moorage_warm_pool_missed",
    "Requests of the last ten minutes that were made cold, because no standby was ready.",
    ("template",),
)
POOL_STOPPED = Metric(
    "moorage_warm_pool_stopped", "1 if the pool makes no more standbys, because they fail.", ("template",)
)
BOOKING_SEATS = Metric(
    "moorage_booking_seats", "Seats of the bookings that are not over, by template.", ("template", "state")
)
BOOKING_STANDBYS = Metric(
    "moorage_booking_standbys",
    "Standbys of bookings that begin soon or have started, ready or in the making.",
    ("template", "state"),
)
BOOKING_STANDBYS_WANTED = Metric(
    "moorage_booking_standbys_wanted",
    "Standbys that are to be ready for the free seats of bookings that begin soon or have started.",
    ("template",),
)
BOOKING_STANDBYS_STOPPED = Metric(
    "moorage_booking_standbys_stopped",
    "Bookings for which no more standbys are made, because they fail.",
    ("template",),
)

#: What the worker serves through Temporal's SDK, which has to know the buckets before.
WORKER_HISTOGRAMS = (REQUEST_TO_USABLE, REQUEST_TO_READY, STEP_DURATION, CALL_DURATION)

#: The types of problems that a workflow gives, beside those of errors.
_PROBLEM_TYPES = frozenset({"Timeout", "Cancelled"})
CAUSES = frozenset({*map(str, ErrorType), *_PROBLEM_TYPES, OTHER})

HOST_SYSTEM, CONTROL_PLANE_SYSTEM = str(System.HOST_CLUSTER), str(System.CONTROL_PLANE)
IDENTITY_SYSTEM = str(System.IDENTITY_PROVIDER)
#: How the display names of systems begin, and the value of the label.
_SYSTEM_OF_PREFIX = {
    "host cluster": HOST_SYSTEM,
    "simulated host": HOST_SYSTEM,
    "vCluster": "vCluster",
    "control plane": CONTROL_PLANE_SYSTEM,
    "Rafay": CONTROL_PLANE_SYSTEM,
    "identity provider": IDENTITY_SYSTEM,
    "Entra ID": IDENTITY_SYSTEM,
    "Keycloak": IDENTITY_SYSTEM,
    "Okta": IDENTITY_SYSTEM,
    "SCIM": IDENTITY_SYSTEM,
    "issuer": "issuer",
    "webhook": "notices",
    "mail server": "notices",
    "Temporal": "Temporal",
    "Moorage": "Moorage",
}
SYSTEMS = frozenset({*_SYSTEM_OF_PREFIX.values(), OTHER})


def cause_label(type: str) -> str:
    """Return the label for the type of an error or a problem."""
    return type if type in CAUSES else OTHER


def system_label(system: str) -> str:
    """Return the label for a system by its display name, which may name a host or an address."""
    return next((label for start, label in _SYSTEM_OF_PREFIX.items() if system.startswith(start)), OTHER)
