"""A real chat application with traffic and faults, watched by a real Vedette."""
