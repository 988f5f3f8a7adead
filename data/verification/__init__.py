"""Checks of raw folders and prepared records: what is wrong (`findings`), what is unusual (doubts), and what is in them (`contents`)."""
