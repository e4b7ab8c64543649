"""How fast documents become rows, here and in other packages; ``benches/chunking.py`` is the command."""
