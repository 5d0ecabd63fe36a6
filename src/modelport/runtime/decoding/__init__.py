"""What decode steps of several tasks share: boxes, scores, masks, planes, and sheets to draw on."""
