"""The parameter type that makes the host hand messages over whole.

`azure.functions.ServiceBusMessage` takes a batch apart into arrays, one for each property, in which
values can slide onto other messages. Bound as binary, a single message whose body is an AMQP value
fails in the host: the extension's converter reads data sections only (azure-sdk-for-net#20236).
This type is bound through azurefunctions-extensions-base.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azurefunctions.extensions.base import InConverter, SdkType, get_binding_registry

from queue_runtime.transports.service_bus.functions_wire import Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE = "AzureServiceBusReceivedMessage"
_TRIGGER = "serviceBusTrigger"


class ServiceBusDelivery(Delivery, SdkType):  # type: ignore[misc]  # the package has no types
    """One message; `received` is the SDK's `ServiceBusReceivedMessage`."""


def taken() -> bool:
    """Tell whether another package has a converter for this trigger; only one is allowed."""
    return get_binding_registry().get(_TRIGGER) not in (None, _converter)


def decode(data: Any) -> list[ServiceBusDelivery] | ServiceBusDelivery:
    """Read what the host sent for one parameter.

    Raises:
        ValueError: it is not what this type asks the host for.
    """
    if data is not None and data.type == "model_binding_data":
        return _delivery(data.value)
    if data is not None and data.type == "collection_model_binding_data":
        return list(map(_delivery, data.value.model_binding_data))
    kind = None if data is None else data.type
    raise ValueError(
        f"the host sent {kind} for a Service Bus trigger that takes messages whole: use extension "
        "bundle [4.*, 5.0.0) in host.json"
    )


def _delivery(item: Any) -> ServiceBusDelivery:
    if item.source != _SOURCE:
        raise ValueError(f"the host sent a message from {item.source!r}, not from {_SOURCE}")
    return ServiceBusDelivery(item.content)


def _make_converter() -> Any:
    if get_binding_registry().get(_TRIGGER) is not None:
        return None

    class Converter(InConverter, binding="serviceBus", trigger=_TRIGGER):  # type: ignore[misc,call-arg]  # no types
        @classmethod
        def check_input_type_annotation(cls, pytype: type) -> bool:
            return True  # the registry has asked whether it is an SdkType already

        @classmethod
        def decode(cls, data: Any, *, trigger_metadata: Mapping[str, Any], pytype: Any) -> Any:
            return decode(data)

    return Converter


_converter = _make_converter()
