"""The generative model behind `data/simulated.py`: landscape, crops, sensors."""
