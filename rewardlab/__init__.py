"""rewardlab: which reward should fine-tune a language model - rules, reward models, or a mixture?"""

__version__ = "0.1.0"
