"""The rules of the gateway in pure Python: no Twisted, no sockets, time is an argument."""
