"""Bad cases: what went wrong for somebody, why, and what is done about it.

``detector``    what a detector declares; each further file with a ``DETECTOR`` is one
``detected``    ``features.badcases``: the day's cases
``causes``      ``audit.badcase``: the same, with the layer that caused each
``stop_loss``   what the next lists must not show because of them
``samples``     what rankers learn of them
``regression``  whether a new model repeats them
"""
