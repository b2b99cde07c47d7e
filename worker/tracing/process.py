"""The recorder of a process, from its start to its end."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.tracing.recorder import set_recorder
from worker.tracing.settings import read_trace_settings
from worker.version import installed_version


@contextmanager
def exported_traces(
    service: str, installation: str, sampling_key: str, on_dropped: Callable[[int], None] = lambda _: None
) -> Iterator[None]:
    """Export the traces of the block, if an endpoint is set; `service` is the name of the process in them.

    `sampling_key` is the same in all processes of the installation, and callers do not know it.

    Raises:
        SettingsError: a variable of OpenTelemetry is not valid.
    """
    settings = read_trace_settings(os.environ)
    if settings is None:
        yield
        return
    # Import here: a process without an endpoint needs none of the SDK.
    from worker.tracing.export import SpanExport

    export = SpanExport(
        service,
        version=installed_version(),
        installation=installation,
        ratio=settings.ratio,
        sampling_key=sampling_key,
        on_dropped=on_dropped,
    )
    set_recorder(export)
    try:
        yield
    finally:
        set_recorder(None)
        export.close()
