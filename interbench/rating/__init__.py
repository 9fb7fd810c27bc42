"""People as judges: a study of a run, the page on which it is rated, packing, importing, agreement and the arena.

Everything but the server (:mod:`interbench.rating.server`, extra ``rate``) works on the core install.
"""
