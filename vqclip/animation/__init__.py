"""Films: what the camera does between frames, how frames are warped and their colors kept."""
