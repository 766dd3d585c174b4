"""The one home of each cloud SDK's set-up: sessions, credentials, names of resources."""
