"""What the stages do when they run: load what they need, call the library, return the result to be stored.

Every function imports what it needs, so that a plan can be made without torch.
"""
