"""How time and memory grow with the sizes of the data, the model and the machine."""
