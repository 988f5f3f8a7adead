"""Baselines without a network: classifiers of scikit-learn on features of each pixel, under the protocol of a run."""
