"""The chart of Moorage, rendered by Helm's library: what it makes of values, and which ones it refuses."""
