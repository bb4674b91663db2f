"""``python -m rewardlab`` is the console script."""

from rewardlab.cli.main import main

main()
