"""Pictures and films: the only rooms that know codecs. `image` is the door for pictures."""
