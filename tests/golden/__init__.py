"""Golden pictures: what the bundled models drew when the pictures were last accepted."""
