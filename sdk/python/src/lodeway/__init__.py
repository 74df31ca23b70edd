"""Client of Lodeway: typed stubs of its gRPC services and a thin layer over them.

`lodeway.tracking.v1`, `lodeway.registry.v1`, `lodeway.artifacts.v1` and `lodeway.common.v1` are generated from the
contract; `lodeway.Client` opens a connection and holds a stub of each service.
"""

from lodeway.client import Client
from lodeway.errors import LodewayError, Violation
from lodeway.paging import iterate
from lodeway.streaming import MetricStream

__all__ = ["Client", "LodewayError", "MetricStream", "Violation", "iterate"]
__version__ = "0.1.0"
