"""Examinations of one model: does PPO on it start where it should, and move what it should? No torch at import.

The same checks run on the user's model (``rewardlab doctor``) and on a tiny model of every architecture in the tests.
"""
