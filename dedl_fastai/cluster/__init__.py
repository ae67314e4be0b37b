"""Work on several machines by Dask: connecting to a cluster, SLURM jobs, TLS, and tasks for its workers."""
