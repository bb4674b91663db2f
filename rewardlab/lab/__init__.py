"""The Python entry: what a notebook calls, and what the command line is written on.

``lab`` the class :class:`~rewardlab.lab.lab.Lab`, ``goals`` which configuration and stage is asked for, ``execution``
how it is run and what is shown on the way, ``run`` a run folder read back, ``stored`` from a run folder back to its
stage, ``compared`` tables of runs, ``scoring`` rewards on answers without training, ``judged`` two runs before a judge,
``exported`` policies as files for other programs.
"""
