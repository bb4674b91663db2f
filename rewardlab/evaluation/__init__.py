"""Evaluation: predictions and their metrics, and few-shot prompts."""
