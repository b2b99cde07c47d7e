"""Files that people write: read with line and column, validated, reloaded when they change."""
