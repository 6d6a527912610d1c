"""How the parts are made from the configuration, one module a room; ``tap.py`` calls them, and nobody else does."""
