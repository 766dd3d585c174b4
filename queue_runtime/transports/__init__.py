"""Where messages come from and go to: one module a queue service."""
