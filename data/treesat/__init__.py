"""TreeSatAI-Time-Series: reader and simulation."""
