"""Reward models looked at: on which pairs, how well they rank them, over seeds, and as tables."""
