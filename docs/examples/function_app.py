"""The Azure Functions app of a project of one's own."""

# --8<-- [start:app]
import azure.functions as func

from queue_runtime import queue_handler, register

booked: list[str] = []


@queue_handler(queue="orders", max_deliveries=5)
def take_order(order: dict) -> None:
    booked.append(order["id"])


app = func.FunctionApp()
register(app, take_order, connection="SERVICEBUS")
# --8<-- [end:app]


def test_the_app_has_the_function_on_its_queue() -> None:
    (function,) = app.get_functions()
    trigger = function.get_trigger()
    assert trigger is not None
    shown = trigger.get_dict_repr()
    assert (shown["queueName"], shown["connection"]) == ("orders", "SERVICEBUS")


def test_the_function_books_orders() -> None:
    from queue_runtime import Disposition
    from queue_runtime.testing import deliver

    assert deliver(take_order, {"id": "o-1"}).disposition is Disposition.ACK
    assert booked == ["o-1"]
