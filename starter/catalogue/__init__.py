"""The catalogue of templates: loading and linting."""
