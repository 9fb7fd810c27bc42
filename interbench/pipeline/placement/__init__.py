"""A run over the machines of a Ray cluster: one process keeps the ledger and the money, nodes do the work.

Ray places actors and tells when they are gone. What is done, and what is still to do, the ledger alone knows: nothing
is retried by Ray, no actor outlives its run, and no object of Ray's holds a result.
"""
