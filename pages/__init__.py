"""Pages in a browser: the demo, the exported page and the page that trains."""
