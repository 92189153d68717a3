"""Speed, side by side: `make bench`."""
