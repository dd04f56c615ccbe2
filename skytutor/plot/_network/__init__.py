"""What `skytutor.plot.architecture` is made of: the walk, its graph, rows, words and SVG."""
