"""ECG paper: its layout and its drawing."""
