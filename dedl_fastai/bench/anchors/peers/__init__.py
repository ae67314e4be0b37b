"""A script for each tool, which runs with the tool's own Python and needs NumPy and the tool, not this package."""
