"""FAMILY: the bulk actions, one file each. Adding one: a file here and its name in `app.py`'s table."""
