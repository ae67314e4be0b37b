"""The synthetic cohort: its cells, their pixels, and the files that are written."""
