"""Between the web server and Django: bodies, paths, headers, and streams that stay open."""
