"""How much corrections help: a simulated annotator, and the score against the number of corrected nuclei."""
