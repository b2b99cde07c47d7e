"""Files that users write: parse them with line and column, validate them, and reload them after changes."""
