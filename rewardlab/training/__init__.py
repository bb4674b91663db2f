"""Training: supervised fine-tuning, reward models, PPO, and the recorders they report to."""
