"""Many processes of one program, shown on one page."""
