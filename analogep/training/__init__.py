"""Text, batches, checkpoints, and training by local updates."""
