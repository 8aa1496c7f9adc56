"""ECG paper: its layout, its pen, its drawing."""
