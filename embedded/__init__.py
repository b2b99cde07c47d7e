"""The embedded stack: all of Moorage on one machine, with stand-ins for the outside systems."""
