A file where a folder should be.
