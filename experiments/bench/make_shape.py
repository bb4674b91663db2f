"""Write a model of a known shape with random weights to a folder, for a peer that can only load models from one.

    python experiments/bench/make_shape.py llama2-7b FOLDER [--dtype bfloat16]

The weights are those of ``rewardlab bench ppo --random-shape``, which needs no folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rewardlab.config import ModelConfig
from rewardlab.models.shapes import SHAPES, random_model, word_tokenizer


def main() -> None:
    """Make and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=list(SHAPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    asked = parser.parse_args()
    model = random_model(asked.shape, ModelConfig(dtype=asked.dtype))
    model.save_pretrained(asked.folder)
    word_tokenizer(model.config.vocab_size).save_pretrained(asked.folder)


if __name__ == "__main__":
    main()
