"""Bad pictures and films, and odd ones that are good, each with what must come of it: made from a seed.

`pictures` and `films` give the cases; `contained` decodes each in a process of its own that may crash, hang or grow;
tests/chaos/test_corpus.py and bench/corpus.py use them.
"""
