"""Upload sessions: archives in parts, directories file by file; see `routes` for the table of contents."""
