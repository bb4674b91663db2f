"""Suites: one comparison of methods in one file, its cells, its plan and its report's record.

In a wheel the suite files of ``experiments/`` lie here too.
"""
