"""``rewardlab studio``: look into a folder of runs in the browser. Needs the extra ``studio``; imports no torch.

``index`` lists the runs, ``tables`` reads their files of rows, ``pages`` makes what each address shows, ``app`` serves
it and ``export`` writes it as static files. Nothing is written but verdicts on pairs.
"""
