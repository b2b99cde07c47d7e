"""Changes to kubeconfig files, as `kubectl` would make them, that keep everything else as it is."""
