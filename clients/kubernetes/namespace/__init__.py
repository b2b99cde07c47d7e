"""The parts of the client that concern the namespaces of environments and the objects in them."""
