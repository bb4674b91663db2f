"""The Python entry: what a notebook calls, and what the command line is written on.

lab               the class :class:`~rewardlab.lab.lab.Lab`
asked, goals      the settings that were given; which configuration and stage they ask for
execution         how a stage is run, and what is shown on the way
finished, stored  a run folder read back; from a run folder to the stage that made it
compared, judged  tables of runs; two runs before a judge
scoring           rewards on answers without training; ``answer_rows`` reads the answers, ``two_rewards`` compares
own_reward        a function as a reward
response_logs     stored responses; ``rescored_log`` tries a reward on them, ``audited_log`` runs the alarm
pair_files        folders of pairs; ``reward_model_tools``: report cards and lambdas of reward models
suite_run         a suite file
exported          policies as files for other programs; ``submitted``: files for the servers of GLUE and SuperGLUE
"""
