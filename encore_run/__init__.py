"""`encore run`: observes any program. It imports only the standard library, since it also runs inside of programs."""
