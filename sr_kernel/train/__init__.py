"""The two training stages of Real-ESRGAN, as functions over a state: no Ray, no files, nothing of the farm."""
