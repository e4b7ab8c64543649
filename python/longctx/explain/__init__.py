"""Evidence for people: reports that show what was read, what counted and what was not read."""
