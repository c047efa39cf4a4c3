"""Sample the collectors of this process while runs are open."""
