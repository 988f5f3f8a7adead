"""What an accelerator makes of this project: parity with the CPU, speed and memory of the `hd` steps, and the main job, in one run."""
