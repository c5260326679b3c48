"""Task suites, their runner, and reports."""
