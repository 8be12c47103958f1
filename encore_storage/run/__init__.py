"""What `encore run` does inside of the program, and the summary that it prints at its end."""
