"""The code between the web server and Django: request bodies, paths, headers, and streams that stay open."""
