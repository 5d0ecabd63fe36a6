"""The bundle: one model, ready for production, as a folder or a stored zip file; see FORMAT.md."""
