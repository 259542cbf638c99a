"""The data planes there are, one file each: a file that is added here is one more, by its name.

It holds a class with the members of `base.DataPlane`, whose `name` is the file's.
"""
