"""One file a guard: each passes a request on, or refuses it with an error that says why."""
