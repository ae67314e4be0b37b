"""Other tools for nuclei (StarDist, Cellpose, InstanSeg) and our runs on the same fields, with the same matcher."""
