"""What E09's parts share: budgets, seeds, the name of a measurement.   Chapter: 08_wake_flow."""

SEEDS = (0, 1, 2, 3, 4, 5)
UPDATES = 400  # of every training that is compared at equal updates
STEPS = 3200  # solver steps in a training of about equal time: updates times unroll length
COSTS = "18 wakes"  # the variant of e09_cost
