"""Run the command line with `python -m dedl_fastai.cli`."""

from . import main

main()
