"""The processes of one program: they share a page and its metrics."""
