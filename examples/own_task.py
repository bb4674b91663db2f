"""A task of your own: a table of texts and labels, a file that declares the task, a trained and measured model."""

# %% A small table. Any CSV, JSON Lines or Parquet file with a column a field will do.
import csv
import os
from pathlib import Path

import rewardlab as rl

TEXTS = {"bug": "The export button does nothing .", "praise": "The new search is great ."}
folder = Path("tickets")
folder.mkdir(exist_ok=True)
with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["text", "label"])
    writer.writerows([f"{text} Ticket {number} .", label] for number in range(40) for label, text in TEXTS.items())

# %% The declaration: which fields, which labels, how it is asked.
DECLARED = r"""
name = "tickets"
question = "Is a support ticket a bug report or praise?"
fields = ["text"]
labels = ["bug", "praise"]
template = "A customer wrote: {text}\nWhat kind of message is it?"

[aliases]
bug = ["bug report", "defect"]
"""
(folder / "tickets.toml").write_text(DECLARED, encoding="utf-8")
task = rl.load_task(folder / "tickets.toml")
print(task.labels, task.parse("a bug report", "label").value)

# %% Train on it and measure; EXAMPLE_MODEL may name another model. The settings are small, so that it takes minutes.
MODEL = os.environ.get("EXAMPLE_MODEL", "smollm2-135m-q4")
SMALL = {"data.labelled": 16, "data.validation": 8, "data.test": 8, "sft.epochs": 1, "sft.batch": 8}
lab = rl.Lab("runs", task=folder / "tickets.toml", model=MODEL, format="label", settings=SMALL)
print(task.prompt(lab.rows("labelled")[0]))
print(lab.compare(lab.sft()).markdown())
