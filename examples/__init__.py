"""Studies outside the product: each file stands alone, and a test runs it."""
