"""Stands in for one Cosmos DB container, as far as the claims of idempotent handlers use it."""
