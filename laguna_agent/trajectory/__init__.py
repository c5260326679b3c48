"""The append-only record of a session, and everything derived from it."""
