"""Experiments as configuration: who is in which variant, how many people it takes, and what came of it.

``design``      what a market declares, checked; who gets what, the same in Spark and in Python
``power``       sample size and power before the start
``inference``   sample ratio, significance, CUPED and readings that may be repeated every night
``readout``     the metrics of ``audit.experiment`` and how each is compared
"""
