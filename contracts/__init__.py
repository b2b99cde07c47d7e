"""The shared vocabulary of workflows, activities, the worker, the API and the CLI. No I/O."""
