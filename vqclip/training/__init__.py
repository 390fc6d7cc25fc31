"""Training of the bundled models on the procedural picture world."""
