"""How the clients call other systems: HTTP, trust in servers, deadlines of writes, errors of connections."""
