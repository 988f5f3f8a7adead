"""Raw folder or simulation -> prepared records: options, broken tiles, summaries, the writers, and the report of what was written."""
