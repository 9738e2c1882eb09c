"""Pictures: their style, how they are written and logged, and what several places draw."""
