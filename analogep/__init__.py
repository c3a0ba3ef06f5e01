"""analogep: transformers as analog circuits that learn by local updates."""
