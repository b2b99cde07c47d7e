"""All settings: their models, where they are read from, and their reference page."""
