"""The part of `encore run` inside of the program, and the summary of a run."""
