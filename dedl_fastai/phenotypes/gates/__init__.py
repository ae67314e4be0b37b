"""Gates: the intensities above which cells count as positive for a marker, from all cells of a cohort or slide."""
