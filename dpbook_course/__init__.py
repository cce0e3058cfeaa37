"""The course: problems, experiments with their results, claims, exercises, and what a reader plays with.

    import dpbook_course as course

    course.verdict("C09")                 # what the stored results say of a claim
    course.measured("e04")                # those results, one row per variant, budget and seed
    course.studies.e04.unrolling.SPEC     # how they were made

``dir(course)`` lists the names. Nothing is imported before it is used.
"""

from dpbook_utils.names import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
