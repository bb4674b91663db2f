"""Two runs' answers side by side before a judge: contests, verdicts in run folders, wins and losses counted."""
