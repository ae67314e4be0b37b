"""The paper's tables as data, and estimates of what its runs cost."""
