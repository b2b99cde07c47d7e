"""`python -m worker.settings`: print the reference of all settings, as Markdown."""

from worker.settings.reference import print_settings

if __name__ == "__main__":
    print_settings()
