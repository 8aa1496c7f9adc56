"""The report of a run: one page from the files of its folder. `report.save` writes it; the other modules are parts."""
