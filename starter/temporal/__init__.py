"""The API's calls to Temporal: error mapping and updates."""
