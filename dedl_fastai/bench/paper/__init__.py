"""The paper's tables as data, and what its runs would cost."""
