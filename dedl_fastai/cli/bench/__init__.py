"""`dedl-fastai bench`: tables of runs, and speeds of this machine."""
