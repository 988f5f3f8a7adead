"""The interface of every raw dataset (`raw.RawDataset`), the registry of datasets, and what their readers share."""
