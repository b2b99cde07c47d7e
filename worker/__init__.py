"""The process that runs workflows and activities: settings, connection, telemetry, registration."""
