"""smartgate: the single entry point of an AI platform, a Twisted reverse proxy with its guards in front."""

__version__ = "0.1.0"
