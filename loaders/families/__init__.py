"""What several datasets share: options, arrays, rows."""
