"""Files are found, downloaded, unpacked and cached."""
