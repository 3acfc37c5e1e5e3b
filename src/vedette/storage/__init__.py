"""Where data rests: spool, head, column store, transactional state."""
