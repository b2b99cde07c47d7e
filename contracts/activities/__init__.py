"""The interfaces of the activities: names and types. `activities/` implements them."""
