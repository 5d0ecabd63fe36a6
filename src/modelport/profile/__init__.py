"""Where time and size go."""
