"""Faces: found on the source, aligned, restored by GFPGAN, and pasted into the restored picture by a parsing mask.

The only rooms that use gfpgan and facexlib, which come with the extra `face`; nothing here is imported before faces are
asked for. The arithmetic is that of gfpgan 1.3.8 and facexlib 0.3.0 (Apache-2.0 and MIT), pinned to them by test, but
for four things: noise is fixed, 16-bit pictures keep their depth, gray ones and ones with alpha are taken, and all runs
on the device that it is told.
"""
