"""The comparison: evaluations found in run folders, their cells, statistics, tests, and the table that they make."""
