"""The Azure Functions app: a line for each handler."""

import azure.functions as func

from functions.orders import take_order
from queue_runtime import register

app = func.FunctionApp()
register(app, take_order, connection="SERVICEBUS")
