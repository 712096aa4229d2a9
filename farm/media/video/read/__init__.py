"""Reading films: what a file holds, where its frames lie, and the frames themselves."""
