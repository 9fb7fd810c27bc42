"""The bundled system under test, and its controlled defects."""

from interbench.systems.puppet.system import Puppet

__all__ = ["Puppet"]
