"""The synthetic cohort: where its cells lie, their pixels, and the files that are written."""
