"""What Vedette shows over HTTP: APIs, the live stream, the page."""
