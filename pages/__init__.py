"""What a browser shows: the demo, its training and the exported page."""
