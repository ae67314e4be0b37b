"""Other tools for nuclei (StarDist, Cellpose, InstanSeg, deepflash2) and our runs, on the same fields."""
