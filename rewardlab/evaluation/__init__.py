"""Evaluation: predictions and their metrics, few-shot prompts, accuracy of reward models."""
