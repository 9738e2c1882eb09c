"""Pages in a browser: the demo, live training and the exported page."""
