"""A reward of your own: written as a function, tried on answers, trained on, and changed."""

# %% The sandbox's tiny model and a few rows, so that this takes seconds; leave `settings` out for a real run.
import rewardlab as rl

SMALL = {
    **{f"data.{part}": 16 for part in ("labelled", "prompts", "validation", "test")},
    "ppo.batch": 8,
    "ppo.micro_batch": 8,
    "model.max_new_tokens": 8,
}
lab = rl.Lab("runs", task="sandbox-topic", format="label", seed=0, settings=SMALL)


# %% One number a response; None says "could not judge". Gold labels are handed over only where needs_gold says so.
@rl.reward(needs_gold=True)
def brevity(examples, responses):
    """1 for the right label in the shortest form, less for every further word."""
    return [
        float(example.label in response) - 0.2 * max(0, len(response.split()) - 1)
        for example, response in zip(examples, responses, strict=True)
    ]


# %% Try it, alone and in an expression, before anything is trained.
answers, gold = ["sports", "sports , I think"], ["sports", "sports"]
scores = rl.score("rule + 0.5 * brevity", "sandbox-topic", answers, gold, format="label")
for score in scores:
    print(score.score, dict(score.parts))

# %% Train on it. Called again it finds the run; after a change to the function it trains anew.
run = lab.train("rule + 0.5 * brevity", init="base", steps=2)
print(run.metrics.select("step", "reward/score", "reward/part/brevity", "policy/kl"))

# %% The responses that did worst by it.
print(run.samples.sort("part/brevity").select("response", "gold", "part/rule", "part/brevity", "total").head(5))
