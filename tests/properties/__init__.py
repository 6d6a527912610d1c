"""Properties: what holds for any message whatsoever, held against h11, a strict implementation of HTTP/1.1."""
