"""Pictures as files, as arrays, and as datasets of folders."""
