"""How a message is settled once its outcome is known: decided here, carried out elsewhere."""
