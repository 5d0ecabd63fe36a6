"""The HTML report of a bundle."""
