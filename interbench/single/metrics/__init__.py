"""The metrics, each a class behind :class:`interbench.single.base.Metric`."""
