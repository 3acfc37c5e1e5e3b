"""Alembic migrations of the transactional state."""
