"""Options, wiring, lifecycle: the only room that knows every other."""
