"""Reports of grids: numbers, tables and figures next to the published values."""
