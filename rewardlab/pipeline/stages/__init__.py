"""One file for each kind of stage: what it needs and what makes its identity, and below that the work it does.

torch is imported inside the functions that work, so that a plan is printed at once.
"""
