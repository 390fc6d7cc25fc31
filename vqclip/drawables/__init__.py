"""What is optimized: the latents of a VQGAN."""
