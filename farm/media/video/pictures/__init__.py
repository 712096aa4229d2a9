"""Films made of pictures, in and out: numbered sequences, and animated GIF, WebP and APNG."""
