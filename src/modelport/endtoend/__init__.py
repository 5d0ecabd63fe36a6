"""One portable graph: a picture's pixels in, final results out, transforms and decode step inside.

canvas      a picture while the graph is built: its pixels, its sizes, and where it lies in the original
resampling  the resizes of PIL and OpenCV as products of matrices
steps       how each transform is written in the graph
answers     how each task's decode step is written in the graph
build       transforms, model and decode step in one graph
prove       the graph beside the predictor, on pictures of several sizes
"""
