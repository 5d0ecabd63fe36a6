"""Chooses among variants under the user's budgets."""
