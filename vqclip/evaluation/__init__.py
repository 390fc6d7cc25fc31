"""How well pictures show what their prompts say: drawing a list, judging, and the report."""
