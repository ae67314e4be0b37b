"""Reports of a grid beside the paper: numbers, tables, figures."""
