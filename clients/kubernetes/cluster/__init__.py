"""The parts of the client that concern a whole host cluster: permissions, nodes, networks, policies."""
