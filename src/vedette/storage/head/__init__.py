"""Recent samples and unflushed events in memory: a cache over the spool and the column store."""
