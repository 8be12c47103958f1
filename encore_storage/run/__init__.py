"""`encore run` inside of the programs that it runs, and the summary at their end."""
