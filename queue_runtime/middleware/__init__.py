"""What happens around deliveries and calls of a handler, each part loaded when it is asked for."""
