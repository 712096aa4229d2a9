"""Makes low-quality pictures from good ones: what is drawn, and the process that applies it.

Importing this package loads no torch; `recipe`, `recipe_toml`, `recipe_basicsr`, `draw`, `drawn` and `crop` stay free
of it too.
"""
