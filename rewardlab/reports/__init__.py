"""Reports: evaluations collected from run folders, compared, and written as tables, pictures and pages."""
