"""The page in the browser: look at results of `predict`, correct them by hand, and move the cut-offs of markers."""
