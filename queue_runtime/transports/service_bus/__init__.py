"""Azure Service Bus: queues and subscriptions, with and without sessions."""
