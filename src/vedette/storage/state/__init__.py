"""Small transactional state: alert states, the notification log, leases; SQLite or PostgreSQL."""
