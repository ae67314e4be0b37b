"""Training of one model on several processes: the process group, its loaders, and shared batch norm."""
