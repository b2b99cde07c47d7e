"""All settings: their models, their sources, and their reference page."""
