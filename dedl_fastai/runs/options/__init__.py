"""Options of the training commands as frozen dataclasses. Standard library alone, so that --help is quick."""
