"""Reading runs: metrics and samples as data frames, and two methods in one table."""

# %% Two short runs on the sandbox; Run("runs/ppo/...") reads one that a command has made.
import polars

import rewardlab as rl

SMALL = {
    **{f"data.{part}": 16 for part in ("labelled", "prompts", "validation", "test")},
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "sft.epochs": 1,
    "model.max_new_tokens": 8,
}
lab = rl.Lab("runs", task="sandbox-topic", format="label", settings=SMALL)
run, sft = lab.train("rule - 0.1 * length", init="sft", steps=3), lab.sft()

# %% A run is a folder; what it was asked and what came out are at hand.
print(run.folder, run.config.reward.expression, run.result["steps"], run.adapter)

# %% Metrics: a row a step.
print(run.metrics.select("step", "reward/score", "reward/gold_accuracy", "policy/kl"))

# %% Samples: a row a response, from the raw parts of its score to the total that was trained on.
print(run.samples.group_by("step").agg(polars.mean("part/rule", "part/length", "shaped/kl", "total")).sort("step"))
print(run.samples.filter(polars.col("answer").is_null()).select("response", "gold", "total"))

# %% Two methods side by side; what is not evaluated yet is evaluated first.
compared = lab.compare(run, sft, against="SFT")
print(compared.frame().select("method", "column", "decoding", "metric", "value", "low", "high"))
print(compared.differences().columns)
compared.html("report.html")
compared.write("report")
