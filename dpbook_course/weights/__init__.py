"""Trained networks to take home: the weights of the studies' deciding trainings, each with a card.

    hybrid = course.load("ks", "WIG-3", seed=0)
    data = course.problems.kuramoto_sivashinsky.trajectories("inside")
    prediction, reference = dp.predict(hybrid, data.states, length=data.length)

``course.trained()`` lists them. ``python -m dpbook_course.experiments weights`` trains and stores what is missing.
"""
