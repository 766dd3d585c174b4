"""Where a handler runs: one module a host; none of them knows another."""
