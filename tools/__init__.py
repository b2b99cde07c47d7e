"""Tools for maintainers of Moorage; not part of it."""
