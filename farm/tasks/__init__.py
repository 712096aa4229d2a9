"""What workers can do, one task a file."""
