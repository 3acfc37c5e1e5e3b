"""Steps of the column store: ``NNNN_name.sql``, statements separated by a line of ``;``."""
