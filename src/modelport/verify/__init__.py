"""Proof that a model still does what its source did."""
