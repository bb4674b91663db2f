"""Pure tensor functions: masks, KL, GAE, PPO losses, Bradley-Terry. No models, no state."""
