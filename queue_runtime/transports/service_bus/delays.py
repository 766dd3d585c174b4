"""Says whether Service Bus can delay a message: by a scheduled copy, where one can be sent."""

from __future__ import annotations

from queue_runtime.settlement.plan import Abilities


def delays_of(
    *, sessions: bool, subscription: bool, dead_letters: bool = False, every_delay: bool
) -> Abilities:
    """Give the abilities of a source of messages, wherever it is consumed.

    Service Bus cannot give a message back for later. A copy is sent to the queue that the message
    came from, which a session, a subscription and a dead-letter queue do not allow.
    """
    if sessions:
        where = "in sessions, where a copy would lose its place"
    elif subscription:
        where = "on subscriptions, where a copy would go to all of the topic"
    elif dead_letters:
        where = "of dead letters, where nothing can be sent to"
    else:
        return Abilities("copy", every_delay=every_delay)
    sentence = f"retries are not delayed {where}: the message comes back at once"
    return Abilities("none", every_delay=every_delay, no_delay=sentence)
