"""The page for a browser, and what it shows of a run."""
