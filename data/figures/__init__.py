"""A tile as a picture: images, series over time, labels (`tile`), and the curves that it shows (`curves`)."""
