"""Tables of text: characters, columns, times and rows."""
