"""Pages for a browser: the one of an exported generator, and the one that trains."""
