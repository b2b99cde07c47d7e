"""The worker process: settings, connection to Temporal, telemetry, and registration of workflows."""
