"""Training data as a whole: what is chosen of it, what stands twice in it, and the lists that training reads."""
