"""The suite that every transport must pass, whatever queue service it speaks to."""

from __future__ import annotations

from queue_runtime.testing.conformance.delivery import DeliveryTests
from queue_runtime.testing.conformance.locks import LockTests
from queue_runtime.testing.conformance.order import OrderTests
from queue_runtime.testing.conformance.outcomes import OutcomeTests
from queue_runtime.testing.conformance.rig import Features

__all__ = ["Features", "TransportConformance"]


class TransportConformance(DeliveryTests, LockTests, OutcomeTests, OrderTests):
    """Derive a test class, give it its features and the hooks; pytest finds the tests.

    The hooks are `open_queue`, `open_again`, `open_dead_letters` and `move_clock`, all async. Each
    test, and each async one that the class adds, runs in an event loop of its own; what it opens
    through `new`, `another` and `dead_letters_of` is closed after it.
    """
