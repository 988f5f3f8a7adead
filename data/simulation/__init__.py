"""The generative model behind the simulated datasets: landscape, crops and sensors."""
