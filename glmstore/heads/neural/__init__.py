"""What the torch heads share; imported only when one of them trains or loads."""
