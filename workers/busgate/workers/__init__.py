"""What a service author uses: services, the context of a call, and the process that runs them."""

from .context import Context
from .process import load_services, run_worker, serve
from .service import Service, ServiceError

__all__ = ["Context", "Service", "ServiceError", "load_services", "run_worker", "serve"]
