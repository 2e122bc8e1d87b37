"""The built-in plugin. It imports what a third party may import, and nothing imports it but its entry point."""
