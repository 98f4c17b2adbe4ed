"""Files and folders of pictures in, fixed files out."""
