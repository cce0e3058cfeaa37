"""Budgets and seeds of E06.   Chapter: 05_loss_placement."""

BUDGETS = (1500, 6000)
SEEDS = (0, 1, 2, 3, 4, 5)
