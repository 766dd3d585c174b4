"""The queue services that come with the package, in one table: all that a scheme stands for."""

from __future__ import annotations

from typing import Final, NamedTuple


class Service(NamedTuple):
    """One queue service.

    - `provider`: its name in QUEUE_PROVIDER.
    - `schemes`: how its URLs begin; the first is the one to write, the others are how the service
      itself writes a queue down.
    - `prefix`: makes a URL of a queue's bare name.
    - `form`: what to write for a queue called `{}`, in an error.
    - `opener`: `module:function` of what opens a URL, as in an entry point.
    """

    provider: str
    schemes: tuple[str, ...]
    prefix: str
    form: str
    opener: str


SERVICES: Final = (
    Service(
        "azure",
        ("servicebus",),
        "servicebus:///",
        "servicebus://namespace/{}",
        "queue_runtime.transports.service_bus.transport:open_service_bus",
    ),
    Service(
        "aws",
        ("sqs", "https", "http"),
        "sqs://",
        "sqs://{}",
        "queue_runtime.transports.sqs.transport:open_sqs",
    ),
    Service(
        "local",
        ("local",),
        "local://",
        "local://{}",
        "queue_runtime.transports.local.transport:open_local",
    ),
)
BY_SCHEME: Final = {scheme: service for service in SERVICES for scheme in service.schemes}
BY_PROVIDER: Final = {service.provider: service for service in SERVICES}
