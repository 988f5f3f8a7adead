"""Reports: results of runs as JSON, Markdown, HTML and pictures."""
