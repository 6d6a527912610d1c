"""The rules of HTTP/1.1: raw bytes, a real gateway process, and an origin that records what reaches it."""
