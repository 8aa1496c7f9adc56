"""What every report and every page says of itself."""

NOTICE = "A research tool, not a medical device."
