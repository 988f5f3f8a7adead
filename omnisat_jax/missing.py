"""What stands for a measurement that is missing, in files and in records."""

import numpy as np

# Stored in place of an integer; readers set it, normalisation turns it into "nothing known".
NO_DATA_INT16 = np.iinfo(np.int16).min
FILL = 1e30  # magnitude above which a float is a fill value, whether a file declares it or not
