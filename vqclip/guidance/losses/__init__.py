"""What the picture is judged by: the distance to the prompts, and registered regularizers."""
