"""The bundled system under test, and its controlled defects."""

from typing import TYPE_CHECKING

from interbench.base.lazy import on_demand

if TYPE_CHECKING:
    from interbench.systems.puppet.system import Puppet
else:
    # The process that renders is a module of this package, and needs no system.
    __getattr__ = on_demand(__name__, {"interbench.systems.puppet.system": ("Puppet",)})

__all__ = ["Puppet"]
