"""What makes each alert fire, and what is near to it and does not: series of samples, one a minute.

They are in promtool's notation: `1x60` is 61 times 1, `0+10x60` grows by 10 a minute. Time starts at 0.
https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/#series
"""

from collections.abc import Mapping
from dataclasses import dataclass

MINUTES = 200
DAY = 86400
UP = f"1x{MINUTES}"
ZERO = f"0x{MINUTES}"
#: A time that moves on every half hour.
_HALF_HOURLY = " ".join(f"{number * 1800}x29" for number in range(7))
_CALLS = "moorage_outside_calls_total"
_LATENCY = "schedule_to_start_latency_bucket"


def _calls(system: str, result: str) -> str:
    return f'{_CALLS}{{system="{system}",result="{result}"}}'


#: An installation that is well. A case changes some of it.
HEALTHY: Mapping[str, str] = {
    "moorage_temporal_up": UP,
    'moorage_build_info{component="worker",version="1"}': UP,
    'moorage_build_info{component="api",version="1"}': UP,
    'moorage_task_queue_pollers{task_queue="moorage",task_type="workflow"}': UP,
    'moorage_task_queue_pollers{task_queue="moorage-undo",task_type="activity"}': UP,
    'moorage_environments{phase="ready"}': UP,
    'moorage_environments{phase="teardown_incomplete"}': ZERO,
    'moorage_environments{phase="orphaned"}': ZERO,
    'moorage_environments_stuck{phase="provisioning"}': ZERO,
    'moorage_environments_requested_total{template="small",host="one"}': f"0+1x{MINUTES}",
    'moorage_step_failures_total{step="vcluster",action="ensure",cause="NeverReady"}': ZERO,
    'moorage_step_failures_total{step="project",action="remove",cause="Unavailable"}': ZERO,
    "moorage_sweep_last_start_timestamp_seconds": f"0+60x{MINUTES}",
    "moorage_sweep_last_completed_timestamp_seconds": f"0+60x{MINUTES}",
    "moorage_sweep_interval_seconds": f"60x{MINUTES}",
    "moorage_reconcile_last_start_timestamp_seconds": _HALF_HOURLY,
    "moorage_reconcile_last_completed_timestamp_seconds": _HALF_HOURLY,
    "moorage_reconcile_interval_seconds": f"1800x{MINUTES}",
    'moorage_reconcile_last_found{outcome="waiting"}': ZERO,
    'moorage_reconcile_last_found{outcome="adopted"}': UP,
    'moorage_reconcile_skipped_sweeps{system="host cluster",host="one"}': ZERO,
    'moorage_reconcile_skipped_sweeps{system="control plane",host=""}': ZERO,
    "moorage_ends_frozen": ZERO,
    f'temporal_activity_{_LATENCY}{{task_queue="moorage",le="10"}}': f"0+9x{MINUTES}",
    f'temporal_activity_{_LATENCY}{{task_queue="moorage",le="1000"}}': f"0+9x{MINUTES}",
    f'temporal_activity_{_LATENCY}{{task_queue="moorage",le="+Inf"}}': f"0+9x{MINUTES}",
    f'temporal_workflow_task_{_LATENCY}{{task_queue="moorage",le="1"}}': f"0+9x{MINUTES}",
    f'temporal_workflow_task_{_LATENCY}{{task_queue="moorage",le="100"}}': f"0+9x{MINUTES}",
    f'temporal_workflow_task_{_LATENCY}{{task_queue="moorage",le="+Inf"}}': f"0+9x{MINUTES}",
    **{
        _calls(system, "ok"): f"0+10x{MINUTES}"
        for system in ("control plane", "identity provider", "host cluster")
    },
    'moorage_host_capacity_known{host="one"}': UP,
    'moorage_host_capacity{host="one",resource="memory",unit="byte"}': f"100x{MINUTES}",
    'moorage_host_reserved{host="one",resource="memory",unit="byte"}': f"50x{MINUTES}",
    'moorage_warm_pool_stopped{template="small"}': ZERO,
    'moorage_booking_standbys_wanted{template="small"}': f"5x{MINUTES}",
    'moorage_booking_standbys{template="small",state="ready"}': f"5x{MINUTES}",
    'moorage_booking_standbys{template="small",state="making"}': ZERO,
    'moorage_booking_standbys_stopped{template="small"}': ZERO,
    'moorage_certificate_expiry_timestamp_seconds{certificate="temporal client",host=""}': (
        f"{365 * DAY}x{MINUTES}"
    ),
}


@dataclass(frozen=True)
class Case:
    """What differs from HEALTHY (None: the series is missing), and which alerts fire `at` some minute."""

    why: str
    changes: Mapping[str, str | None]
    fires: tuple[str, ...] = ()
    at: int = 40
    #: The alert that this is near to, where none fires.
    near: str = ""


_POOL = 'moorage_warm_pool_stopped{template="small"}'
_BOOKED_READY = 'moorage_booking_standbys{template="small",state="ready"}'
_BOOKED_WANTED = 'moorage_booking_standbys_wanted{template="small"}'
_BOOKED_STOPPED = 'moorage_booking_standbys_stopped{template="small"}'
_POLLERS = 'moorage_task_queue_pollers{task_queue="moorage",task_type="workflow"}'
_ENSURE = 'moorage_step_failures_total{step="vcluster",action="ensure",cause="NeverReady"}'
_REMOVE = 'moorage_step_failures_total{step="project",action="remove",cause="Unavailable"}'
_STARTED = "moorage_sweep_last_start_timestamp_seconds"
_COMPLETED = "moorage_sweep_last_completed_timestamp_seconds"
_RECONCILED = "moorage_reconcile_last_completed_timestamp_seconds"
_RECONCILE = "moorage_reconcile_last_start_timestamp_seconds"
_WAITING = 'moorage_reconcile_last_found{outcome="waiting"}'
_SKIPPED = 'moorage_reconcile_skipped_sweeps{system="host cluster",host="one"}'
_FAST_TASKS = f'temporal_workflow_task_{_LATENCY}{{task_queue="moorage",le="1"}}'
_FAST_STEPS = f'temporal_activity_{_LATENCY}{{task_queue="moorage",le="10"}}'
_RESERVED = 'moorage_host_reserved{host="one",resource="memory",unit="byte"}'
_CAPACITY = 'moorage_host_capacity{host="one",resource="memory",unit="byte"}'
_CERTIFICATE = 'moorage_certificate_expiry_timestamp_seconds{certificate="temporal client",host=""}'
_TASKS_FAIL = 'temporal_workflow_task_execution_failed{workflow_type="EnvironmentWorkflow"}'
#: A sweep at each full hour.
_HOURLY = " ".join(f"{hour * 3600}x59" for hour in range(4))
_KEY = 'moorage_payloads_refused_total{reason="key_missing"}'

CASES = (
    Case("all is well", {}),
    Case("Temporal is down", {"moorage_temporal_up": ZERO}, ("MoorageTemporalDown",)),
    Case(
        "Temporal was down for a minute", {"moorage_temporal_up": "1x37 0 1x20"}, near="MoorageTemporalDown"
    ),
    Case("no worker polls", {_POLLERS: ZERO}, ("MoorageWorkersAbsent",)),
    Case("a worker restarts", {_POLLERS: "1x37 0x1 1x20"}, near="MoorageWorkersAbsent"),
    Case(
        "no worker is scraped",
        {'moorage_build_info{component="worker",version="1"}': None},
        ("MoorageWorkersAbsent",),
    ),
    Case(
        "another version runs beside it",
        {'moorage_build_info{component="worker",version="2"}': UP},
        near="MoorageWorkersAbsent",
    ),
    Case("no API", {'moorage_build_info{component="api",version="1"}': None}, ("MoorageApiAbsent",)),
    Case(
        "one of two APIs",
        {
            'moorage_build_info{component="api",version="1"}': None,
            'moorage_build_info{component="api",version="2",pod="b"}': UP,
        },
        near="MoorageApiAbsent",
    ),
    Case(
        "one is stuck",
        {'moorage_environments_stuck{phase="provisioning"}': UP},
        ("MoorageProvisioningStuck",),
    ),
    Case(
        "one was slow",
        {'moorage_environments_stuck{phase="provisioning"}': "0x30 1x5 0x20"},
        near="MoorageProvisioningStuck",
    ),
    Case("a third of the requests fail", {_ENSURE: "0x1 0+0.33x200"}, ("MoorageProvisioningFails",)),
    Case("one of thirty fails", {_ENSURE: "0x1 0+0.033x200"}, near="MoorageProvisioningFails"),
    Case(
        "one of one fails, at night",
        {
            'moorage_environments_requested_total{template="small",host="one"}': "0x10 1x40",
            _ENSURE: "0x15 1x35",
        },
        near="MoorageProvisioningFails",
    ),
    Case("each pass of a teardown fails", {_REMOVE: "0x1 0+0.06x200"}, ("MoorageTeardownFails",), at=80),
    Case("an outage of ten minutes", {_REMOVE: "0x10 1+1x10 11x90"}, near="MoorageTeardownFails", at=80),
    Case(
        "a teardown has given up",
        {'moorage_environments{phase="teardown_incomplete"}': f"2x{MINUTES}"},
        ("MoorageTeardownIncomplete",),
    ),
    Case(
        "many teardowns are under way",
        {'moorage_environments{phase="tearing_down"}': f"50x{MINUTES}"},
        near="MoorageTeardownIncomplete",
    ),
    Case("an orphan", {'moorage_environments{phase="orphaned"}': UP}, ("MoorageOrphans",)),
    Case(
        "an orphan that is removed at once",
        {'moorage_environments{phase="orphaned"}': "0x30 1x5 0x20"},
        near="MoorageOrphans",
    ),
    Case("no sweep starts", {_STARTED: "0+60x10 600x100"}, ("MoorageSweepNotRun",)),
    Case("no sweep is scheduled", {_STARTED: None, _COMPLETED: None}, ("MoorageSweepNotRun",)),
    Case(
        "no sweep starts because ends are frozen",
        {_STARTED: "0+60x10 600x100", "moorage_ends_frozen": UP},
        near="MoorageSweepNotRun",
    ),
    Case(
        "a sweep an hour, by the settings",
        {_STARTED: _HOURLY, _COMPLETED: _HOURLY, "moorage_sweep_interval_seconds": f"3600x{MINUTES}"},
        near="MoorageSweepNotRun",
        at=115,
    ),
    Case("no sweep is completed", {_COMPLETED: "0+60x5 300x200"}, ("MoorageSweepFails",), at=100),
    Case("some sweeps fail", {_COMPLETED: "0+60x20 1200x90"}, near="MoorageSweepFails"),
    Case("no reconcile sweep starts", {_RECONCILE: ZERO}, ("MoorageReconcileNotRun",), at=75),
    Case(
        "no reconcile sweep is scheduled", {_RECONCILE: None, _RECONCILED: None}, ("MoorageReconcileNotRun",)
    ),
    Case("a reconcile sweep is late", {_RECONCILE: "0x29 1800x150"}, near="MoorageReconcileNotRun", at=90),
    Case("reconcile sweeps cannot look", {_RECONCILED: ZERO}, ("MoorageReconcileFails",), at=135),
    Case("some reconcile sweeps cannot look", {_RECONCILED: ZERO}, near="MoorageReconcileFails", at=115),
    Case("many are to be adopted at once", {_WAITING: "0x9 30x150"}, ("MoorageReconcileWaits",)),
    Case("a person confirms at once", {_WAITING: "0x30 30x5 0x150"}, near="MoorageReconcileWaits"),
    Case("a host is skipped", {_SKIPPED: "0x9 3x150"}, ("MoorageReconcileSkipsSystem",)),
    Case("a host is skipped twice", {_SKIPPED: "0x9 2x150"}, near="MoorageReconcileSkipsSystem"),
    Case("activity tasks wait", {_FAST_STEPS: ZERO}, ("MoorageQueueLatency",)),
    Case("workflow tasks wait", {_FAST_TASKS: ZERO}, ("MoorageQueueLatency",)),
    Case("one of twenty waits", {_FAST_STEPS: f"0+8.55x{MINUTES}"}, near="MoorageQueueLatency"),
    Case("tasks fail again and again", {_TASKS_FAIL: f"0+1x{MINUTES}"}, ("MoorageWorkflowTasksFail",)),
    Case("a task failed twice", {_TASKS_FAIL: "0x25 2x20"}, near="MoorageWorkflowTasksFail"),
    Case("a key is missing", {_KEY: "0x30 0+3x20"}, ("MoorageEncryptionKeyMissing",)),
    Case("a key was missing an hour ago", {_KEY: "0x5 0+3x10 30x90"}, near="MoorageEncryptionKeyMissing"),
    Case(
        "a payload of another program",
        {'moorage_payloads_refused_total{reason="foreign"}': "0x30 0+3x20"},
        near="MoorageEncryptionKeyMissing",
    ),
    *(
        case
        for alert, system in (
            ("MoorageControlPlaneDown", "control plane"),
            ("MoorageDirectoryDown", "identity provider"),
            ("MoorageHostDown", "host cluster"),
        )
        for case in (
            Case(
                f"the {system} does not answer",
                {_calls(system, "ok"): ZERO, _calls(system, "unreachable"): f"0+5x{MINUTES}"},
                (alert,),
            ),
            Case(
                f"the {system} refuses our credentials",
                {_calls(system, "ok"): ZERO, _calls(system, "denied"): f"0+5x{MINUTES}"},
                (alert,),
            ),
            Case(
                f"one call of three to the {system} fails",
                {_calls(system, "server_failed"): f"0+5x{MINUTES}"},
                near=alert,
            ),
            Case(
                f"the {system} has nothing of that name",
                {_calls(system, "not_found"): f"0+90x{MINUTES}"},
                near=alert,
            ),
        )
    ),
    Case("a host is silent", {'moorage_host_capacity_known{host="one"}': ZERO}, ("MoorageHostSilent",)),
    Case(
        "a host was silent for a moment",
        {'moorage_host_capacity_known{host="one"}': "1x30 0x3 1x20"},
        near="MoorageHostSilent",
    ),
    Case("a warm pool has stopped", {_POOL: UP}, ("MoorageWarmPoolStopped",)),
    Case("a warm pool was resumed", {_POOL: "1x30 0x30"}, near="MoorageWarmPoolStopped"),
    Case("no template keeps a warm pool", {_POOL: None}, near="MoorageWarmPoolStopped"),
    Case("standbys of a booking fail", {_BOOKED_STOPPED: "0x30 1x30"}, ("MoorageBookingStandbysStopped",)),
    Case(
        "those of a booking were mended", {_BOOKED_STOPPED: "1x30 0x30"}, near="MoorageBookingStandbysStopped"
    ),
    Case(
        "standbys of a booking are missing when it begins",
        {_BOOKED_READY: "5x20 3x100"},
        ("MoorageBookingStandbysMissing",),
    ),
    Case(
        "standbys of a booking are being made",
        {_BOOKED_WANTED: "0x30 20x100", _BOOKED_READY: "0x30 5 10 15 20x100"},
        near="MoorageBookingStandbysMissing",
    ),
    Case(
        "nothing is booked",
        {_BOOKED_READY: None, _BOOKED_WANTED: None, _BOOKED_STOPPED: None},
        near="MoorageBookingStandbysStopped",
    ),
    Case("a host is full", {_RESERVED: f"95x{MINUTES}"}, ("MoorageCapacityNearlyFull",)),
    Case("a host has room", {_RESERVED: f"85x{MINUTES}"}, near="MoorageCapacityNearlyFull"),
    Case(
        "a host without a limit",
        {_RESERVED: f"95x{MINUTES}", _CAPACITY: None},
        near="MoorageCapacityNearlyFull",
    ),
    Case(
        "a certificate expires in ten days",
        {_CERTIFICATE: f"{10 * DAY}x{MINUTES}"},
        ("MoorageCertificateExpires",),
        at=70,
    ),
    Case(
        "a certificate has expired", {_CERTIFICATE: f"1000x{MINUTES}"}, ("MoorageCertificateExpires",), at=70
    ),
    Case(
        "a certificate expires in twenty days",
        {_CERTIFICATE: f"{20 * DAY}x{MINUTES}"},
        near="MoorageCertificateExpires",
        at=70,
    ),
    Case("ends are frozen for three hours", {"moorage_ends_frozen": UP}, near="MoorageEndsFrozen"),
)
#: One sample an hour, and `at` some hour.
LONG_CASES = (
    Case(
        "ends are frozen for nine days", {"moorage_ends_frozen": "1x300"}, ("MoorageEndsFrozen",), at=9 * 24
    ),
    Case(
        "ends are frozen for six days", {"moorage_ends_frozen": "1x300"}, at=6 * 24, near="MoorageEndsFrozen"
    ),
)
