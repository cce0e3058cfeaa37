"""Budgets of E05.   Chapter: 04_coupling."""

BUDGETS = (1500, 6000)
