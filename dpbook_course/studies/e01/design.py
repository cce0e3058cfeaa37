"""The budgets of E01's trainings.   Chapter: 01_physics_as_loss."""

INVERSE_BUDGETS, LAW_BUDGETS = (300, 1200), (100, 400)
