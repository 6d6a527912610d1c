"""What stands in the tree: the reverse proxy, the WebSocket bridge, the health answers."""
