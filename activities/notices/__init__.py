"""How the people of an environment and their programs are notified, and where its record goes."""
