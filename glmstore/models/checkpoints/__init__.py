"""Published checkpoints: where they come from, what was pulled, and strict loading."""
