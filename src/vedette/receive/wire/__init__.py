"""Pure decoders from bytes to model objects."""
