"""Storage that is observed: stores, the utilities to write one, and what they tell."""
